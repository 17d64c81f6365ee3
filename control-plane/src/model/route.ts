import type { TextMatch } from "../sources/istio/values.ts";
import { type ServicePort, hasLabels } from "./service.ts";
import type { Visibility } from "./visibility.ts";

/** How calls to some hosts are routed: ordered rules, the first that matches wins. */
export interface RouteTable {
  readonly namespace: string;
  readonly name: string;
  /** Full; a wildcard is possible. */
  readonly hosts: readonly string[];
  readonly visible: Visibility;
  /** Of requests. */
  readonly rules: readonly Rule[];
  /** Of connections by server name, on ports of TLS; no rule for a name that is asked for means that it leads nowhere. */
  readonly tls: readonly ConnectionRule[];
  /** Of all other connections: the first that applies, else to the service itself. */
  readonly tcp: readonly ConnectionRule[];
}

export interface Rule {
  readonly name: string;
  /** Any of them; none means every request. */
  readonly matches: readonly RuleMatch[];
  /** None where `answer` is given. */
  readonly destinations: readonly Destination[];
  /** Given to the caller without asking anybody. */
  readonly answer: Redirect | DirectResponse | undefined;
  readonly rewrite: PathRewrite | undefined;
  readonly cors: Cors | undefined;
  /** Get copies of the calls that go to the destinations. */
  readonly mirrors: readonly Mirror[];
  readonly timeoutMs: number | undefined;
  /** `undefined`: the mesh's default. */
  readonly retry: Retry | "off" | undefined;
  /** Its requests can be repeated whatever their method. */
  readonly idempotent: boolean;
  readonly hedge: Hedge | undefined;
  readonly fault: Fault | undefined;
  /** Of all destinations; what a destination says itself has been joined with it there. */
  readonly headers: HeaderChanges | undefined;
  /** Host that is sent on instead of the caller's. */
  readonly authority: string | undefined;
}

/** What is `undefined` stays as the caller wrote it. */
export interface Redirect {
  readonly kind: "redirect";
  readonly status: number;
  readonly scheme: "http" | "https" | undefined;
  readonly authority: string | undefined;
  /** `called`: the port that was called; `default`: that of the scheme. */
  readonly port: number | "called" | "default" | undefined;
  readonly path: { readonly kind: "whole" | "matched"; readonly value: string } | undefined;
}

/** What browsers may do with answers that they get for pages of other origins. */
export interface Cors {
  readonly origins: readonly TextMatch[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly expose: readonly string[];
  readonly maxAgeSeconds: number | undefined;
  readonly credentials: boolean;
  /** Preflights of other origins go on to the application. */
  readonly forwardUnmatched: boolean;
}

export interface DirectResponse {
  readonly kind: "direct";
  readonly status: number;
  readonly body: Uint8Array | undefined;
}

/** `matched`: in place of what the match compared. `regex`: wherever the pattern is found. */
export type PathRewrite =
  | { readonly kind: "matched"; readonly value: string }
  | { readonly kind: "regex"; readonly pattern: string; readonly substitution: string };

/** What is done to the fields of requests before they are sent and of answers before the caller sees them. */
export interface HeaderChanges {
  readonly request: FieldChanges;
  readonly response: FieldChanges;
}

/** Removed first, then set, then added. Names in lower case; values with operators in Envoy's form. */
export interface FieldChanges {
  readonly remove: readonly string[];
  readonly set: readonly Field[];
  readonly add: readonly Field[];
}

export interface Field {
  readonly name: string;
  readonly value: string;
}

/** Conditions on the port that is called and on who calls: decided before any call is made. */
export interface CallerMatch {
  /** False when it is for gateways only. */
  readonly inMesh: boolean;
  /** Of the service. */
  readonly port: number | undefined;
  readonly sourceNamespace: string | undefined;
  readonly sourceLabels: Readonly<Record<string, string>>;
}

/** Where connections go. */
export interface ConnectionRule {
  /** Any of them; none means every connection. */
  readonly matches: readonly ConnectionMatch[];
  readonly destinations: readonly WeightedTarget[];
}

export interface ConnectionMatch extends CallerMatch {
  /** Any of them; a wildcard is possible. Empty: whatever is asked for, if anything. */
  readonly serverNames: readonly string[];
}

/** All of the conditions. */
export interface RuleMatch extends CallerMatch {
  readonly name: string;
  readonly path: TextMatch | undefined;
  readonly ignorePathCase: boolean;
  readonly scheme: TextMatch | undefined;
  readonly method: TextMatch | undefined;
  readonly authority: TextMatch | undefined;
  readonly headers: readonly HeaderCondition[];
  readonly query: readonly { readonly name: string; readonly match: TextMatch }[];
}

export interface HeaderCondition {
  readonly name: string;
  readonly match: TextMatch;
  readonly negated: boolean;
}

/** What a rule can name as the place to go to. */
export interface Target {
  /** Full. */
  readonly host: string;
  /** Empty: the whole service. */
  readonly subset: string;
  /** `undefined`: the only port of the service, else the port called. */
  readonly port: number | undefined;
}

export interface Mirror extends Target {
  /** Share of the calls in parts of a million, more than none. */
  readonly perMillion: number;
}

export interface WeightedTarget extends Target {
  readonly weight: number;
}

export interface Destination extends WeightedTarget {
  /** The rule's and its own in one; `undefined`: the rule's hold. */
  readonly headers: HeaderChanges | undefined;
  /** `undefined`: the rule's holds. */
  readonly authority: string | undefined;
}

export interface Retry {
  readonly retries: number;
  readonly perTryTimeoutMs: number | undefined;
  readonly conditions: readonly string[];
  readonly statusCodes: readonly number[];
  /** `undefined`: yes, unless the destination hashes: then a key would leave its endpoint with the first failure. */
  readonly avoidPreviousHosts: boolean | undefined;
  /** Whether retries go to priorities, and with them localities, that were not tried yet. */
  readonly remoteLocalities: boolean;
  /** `undefined`: 25 ms. The cap is ten times the base. */
  readonly backoffMs: number | undefined;
}

/** A second attempt beside one that is slow. */
export interface Hedge {
  /** Of a hundred answers, those that have come by then. */
  readonly percent: number | undefined;
  /** Alone, or for as long as too few answers were seen. */
  readonly afterMs: number | undefined;
}

/** Shares are parts of a million. */
export interface Fault {
  readonly delay: { readonly ms: number; readonly perMillion: number } | undefined;
  readonly abort:
    | {
        readonly status: { readonly http: number } | { readonly grpc: number };
        readonly perMillion: number;
      }
    | undefined;
}

/** Istio's default without its `retriable-status-codes`, which does nothing until codes are named (istio-api §2.6). */
export const defaultRetry: Retry = {
  retries: 2,
  perTryTimeoutMs: undefined,
  conditions: ["connect-failure", "refused-stream", "unavailable", "cancelled"],
  statusCodes: [],
  avoidPreviousHosts: undefined,
  remoteLocalities: false,
  backoffMs: undefined,
};

/** The port of `service` that a destination means when `called` is the port of the call; `undefined`: ambiguous or absent. */
export function destinationPort(
  service: { readonly ports: readonly { readonly number: number }[] },
  wanted: number | undefined,
  called: number,
): number | undefined {
  const only = service.ports.length === 1 ? service.ports[0]?.number : undefined;
  const number = wanted ?? only ?? called;
  return service.ports.some((port) => port.number === number) ? number : undefined;
}

/** Who calls; without `labels`, some workload of the namespace, whatever its labels. */
export interface Caller {
  readonly namespace: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** Whether a match is there for who calls that port. */
export function applies(match: CallerMatch, { namespace, labels }: Caller, port: number): boolean {
  return (
    match.inMesh &&
    (match.port === undefined || match.port === port) &&
    (match.sourceNamespace === undefined || match.sourceNamespace === namespace) &&
    (labels === undefined || hasLabels(labels, match.sourceLabels))
  );
}

/**
 * Whether a port takes whole connections of a caller, in which the mesh reads nothing: always if it is TCP or TLS, and if it is HTTPS where
 * rules of the table that the caller follows lead its connections by server name. Then the TLS in them is the application's own.
 */
export function isOpaque(port: ServicePort, table: RouteTable | undefined, caller: Caller): boolean {
  if (port.protocol !== "https") return isAlwaysOpaque(port);
  const { number } = port;
  return table?.tls.some(({ matches }) => matches.some((match) => applies(match, caller, number))) === true;
}

/** Whoever calls, and at the server as well. */
export function isAlwaysOpaque({ protocol }: ServicePort): boolean {
  return protocol === "tls" || protocol === "tcp";
}
