import { type MeshSettings, fullHost } from "../../model/mesh.ts";
import type {
  CallerMatch,
  ConnectionRule,
  Cors,
  Fault,
  HeaderCondition,
  PathRewrite,
  Retry,
  RouteTable,
  Rule,
  RuleMatch,
  Target,
} from "../../model/route.ts";
import { defaultRetry } from "../../model/route.ts";
import type { OwnedRule } from "./delegate.ts";
import { joinHeaders } from "./header-changes.ts";
import { visibility } from "../../model/visibility.ts";
import type { CallerMatchSpec } from "../../sources/istio/caller-match.ts";
import type { ConnectionRuleSpec } from "../../sources/istio/connection-rules.ts";
import type { CorsSpec } from "../../sources/istio/cors.ts";
import type { FaultSpec } from "../../sources/istio/fault.ts";
import { readHedges, readIdempotent } from "../../sources/istio/route-settings.ts";
import type { HttpMatchSpec, HttpRuleSpec, RetriesSpec } from "../../sources/istio/virtual-service.ts";
import type { RewriteSpec } from "../../sources/istio/http-rewrite.ts";
import { mirrorsOf } from "../../sources/istio/mirror.ts";
import type { DestinationSpec } from "../../sources/istio/route-destination.ts";
import type { TextMatch } from "../../sources/istio/values.ts";
import type { Content } from "../../sources/object.ts";

/** VirtualService → route table (istio-api §2). */
export function routeTable(
  { namespace, name, spec }: Content<"VirtualService">,
  rules: readonly OwnedRule[],
  mesh: MeshSettings,
): RouteTable {
  return {
    namespace,
    name,
    // What is for gateways only says nothing about calls in the mesh.
    hosts: forMesh(spec.gateways) ? spec.hosts.map((host) => fullHost(mesh, host, namespace)) : [],
    visible: visibility(spec.exportTo, namespace),
    // Short names and annotations are those of the object that a rule stands in.
    rules: rules.map(({ owner, index, spec: rule }) => ({
      ...translateRule(rule, owner.namespace, mesh),
      ...annotated(owner, index),
    })),
    tls: spec.tls.map((rule) => connectionRule(rule, namespace, mesh)),
    tcp: spec.tcp.map((rule) => connectionRule(rule, namespace, mesh)),
  };
}

function connectionRule({ match, route }: ConnectionRuleSpec, namespace: string, mesh: MeshSettings): ConnectionRule {
  return {
    matches: match.map((one) => ({ ...callerMatch(one), serverNames: one.sniHosts })),
    destinations: route.map(({ destination, weight }) => ({
      ...translateTarget(destination, namespace, mesh),
      weight,
    })),
  };
}

export function callerMatch({ port, gateways, sourceNamespace, sourceLabels }: CallerMatchSpec): CallerMatch {
  return {
    port,
    inMesh: forMesh(gateways),
    // Beside gateways of its own a match does not look at who calls (istio-api §2.3).
    ...(gateways.length > 0 ? { sourceNamespace: undefined, sourceLabels: {} } : { sourceNamespace, sourceLabels }),
  };
}

function annotated({ spec, settings }: Content<"VirtualService">, at: number): Pick<Rule, "idempotent" | "hedge"> {
  const idempotent = understood(settings["trama.io/idempotent"], (text) => readIdempotent(text, spec.http));
  const hedges = understood(settings["trama.io/hedge"], (text) => readHedges(text, spec.http));
  return { idempotent: idempotent[at] ?? false, hedge: hedges[at] };
}

/** By rule. What cannot be read was refused with its object. */
function understood<T>(text: string | undefined, read: (text: string) => readonly T[] | string): readonly T[] {
  const found = text === undefined ? [] : read(text);
  return typeof found === "string" ? [] : found;
}

export function forMesh(gateways: readonly string[]): boolean {
  return gateways.length === 0 || gateways.includes("mesh");
}

function translateRule(rule: HttpRuleSpec, namespace: string, mesh: MeshSettings): Omit<Rule, "idempotent" | "hedge"> {
  return {
    name: rule.name,
    matches: rule.match.map(translateMatch),
    mirrors: mirrorsOf(rule)
      .filter(({ perMillion }) => perMillion > 0)
      .map(({ destination, perMillion }) => ({ ...translateTarget(destination, namespace, mesh), perMillion })),
    destinations: rule.route.map(({ destination, weight, headers }) => ({
      ...translateTarget(destination, namespace, mesh),
      weight,
      headers: headers === undefined ? undefined : joinHeaders(rule.headers, headers),
      authority: headers?.request?.authority,
    })),
    answer: translateAnswer(rule),
    rewrite: translateRewrite(rule.rewrite),
    cors: rule.corsPolicy && translateCors(rule.corsPolicy),
    timeoutMs: rule.timeout,
    retry: rule.retries === undefined ? undefined : translateRetries(rule.retries),
    fault: rule.fault === undefined ? undefined : translateFault(rule.fault),
    headers: rule.headers === undefined ? undefined : joinHeaders(undefined, rule.headers),
    authority: rule.rewrite?.authority ?? rule.headers?.request?.authority,
  };
}

function translateCors(spec: CorsSpec): Cors {
  return {
    origins: spec.allowOrigins,
    methods: spec.allowMethods,
    headers: spec.allowHeaders,
    expose: spec.exposeHeaders,
    maxAgeSeconds: spec.maxAgeSeconds,
    credentials: spec.allowCredentials,
    forwardUnmatched: spec.forwardUnmatched,
  };
}

export function translateTarget(
  { host, subset, port }: DestinationSpec,
  namespace: string,
  mesh: MeshSettings,
): Target {
  return { host: fullHost(mesh, host, namespace), subset: subset ?? "", port: port?.number };
}

function translateAnswer({ redirect, directResponse }: HttpRuleSpec): Rule["answer"] {
  if (directResponse !== undefined) return { kind: "direct", status: directResponse.status, body: directResponse.body };
  if (redirect === undefined) return undefined;
  const { uri, prefixRewrite, authority, scheme, redirectCode, port, derivePort } = redirect;
  const path =
    uri !== undefined
      ? ({ kind: "whole", value: uri } as const)
      : prefixRewrite === undefined
        ? undefined
        : ({ kind: "matched", value: prefixRewrite } as const);
  const derived = derivePort === undefined ? undefined : derivePort === "FROM_REQUEST_PORT" ? "called" : "default";
  return { kind: "redirect", status: redirectCode, scheme, authority, port: port ?? derived, path };
}

function translateRewrite(spec: RewriteSpec | undefined): PathRewrite | undefined {
  if (spec?.uri !== undefined) return { kind: "matched", value: spec.uri };
  const regex = spec?.uriRegexRewrite;
  return regex && { kind: "regex", pattern: regex.match, substitution: regex.rewrite };
}

function translateMatch(match: HttpMatchSpec): RuleMatch {
  return {
    name: match.name,
    path: match.uri,
    ignorePathCase: match.ignoreUriCase,
    scheme: match.scheme,
    method: match.method,
    authority: match.authority,
    headers: [...conditions(match.headers, false), ...conditions(match.withoutHeaders, true)],
    query: Object.entries(match.queryParams).map(([name, condition]) => ({ name, match: condition })),
    ...callerMatch(match),
  };
}

function conditions(found: Readonly<Record<string, TextMatch>>, negated: boolean): HeaderCondition[] {
  return Object.entries(found).map(([name, match]) => ({ name, match, negated }));
}

function translateRetries(retries: RetriesSpec): Retry | "off" {
  if (retries.attempts === 0) return "off";
  return {
    retries: retries.attempts,
    perTryTimeoutMs: retries.perTryTimeout,
    conditions: retries.retryOn?.words ?? defaultRetry.conditions,
    statusCodes: retries.retryOn?.codes ?? [],
    avoidPreviousHosts: retries.retryIgnorePreviousHosts,
    remoteLocalities: retries.retryRemoteLocalities,
    backoffMs: retries.backoff,
  };
}

function translateFault({ delay, abort }: FaultSpec): Fault {
  return {
    delay: delay === undefined ? undefined : { ms: delay.fixedDelay, perMillion: delay.percentage },
    abort:
      abort === undefined
        ? undefined
        : {
            status: abort.httpStatus === undefined ? { grpc: abort.grpcStatus ?? 2 } : { http: abort.httpStatus },
            perMillion: abort.percentage,
          },
  };
}
