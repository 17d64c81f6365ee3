import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import {
  type RouteActionSchema,
  type RouteSchema,
  type VirtualHostSchema,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { FractionalPercent_DenominatorType } from "@trama/proto/envoy/type/v3/percent_pb.js";
import type { HashKey } from "../model/balancer.ts";
import type { MeshSettings } from "../model/mesh.ts";
import { type Fault, type PathRewrite, type Rule, defaultRetry } from "../model/route.ts";
import type { Service } from "../model/service.ts";
import type { NodeView, WireResource } from "../snapshot.ts";
import { answerAction, answerLimit } from "./answers.ts";
import { hashPolicies } from "./balancer.ts";
import { corsFilterName, corsOverride } from "./cors.ts";
import { headerFields } from "./header-changes.ts";
import { clusterName, spellings } from "./names.ts";
import { retryHints, retryPolicy } from "./retries.ts";
import { isPlain, routeMatch } from "./route-match.ts";
import type { StaticRule } from "./static-rules.ts";
import { durationOf, pack, wireResource } from "./wire.ts";

export const faultFilter = "envoy.filters.http.fault";

export interface RoutesInput {
  readonly mesh: MeshSettings;
  readonly service: Service;
  readonly port: number;
  /** Of the caller: its short names are part of the domains. */
  readonly namespace: string;
  /** What applies to the port and the caller, in order; none: straight to the service. */
  readonly rules: readonly StaticRule[];
  /** Without rules: what the balancer of the service goes by. */
  readonly hash: readonly HashKey[];
  readonly kind: NodeView["kind"];
}

/** What was found out of a rule beyond what it says. */
type FoundParts = Pick<StaticRule, "ports" | "mirrorPorts" | "hash">;

type RouteInit = MessageInitShape<typeof RouteSchema>;

export function routes(input: RoutesInput): WireResource {
  const { mesh, service, port, namespace } = input;
  const name = clusterName({ port, subset: "", host: service.host });
  const domains = spellings(mesh, service, namespace).flatMap((spelling) => [spelling, `${spelling}:${port}`]);
  return wireResource(RouteConfigurationSchema, name, {
    name,
    ...answerLimit(input.rules),
    virtualHosts: [virtualHost(input, domains)],
  });
}

/** All routes to one port of one service. */
export function virtualHost(
  { service, port, rules, hash, kind }: Pick<RoutesInput, "service" | "port" | "rules" | "hash" | "kind">,
  domains: readonly string[],
): MessageInitShape<typeof VirtualHostSchema> {
  const own = clusterName({ port, subset: "", host: service.host });
  return {
    name: `${service.host}:${port}`,
    domains: [...domains],
    // As in Istio. Ours say it without being asked, from the second attempt on.
    ...(kind === "envoy" && { includeRequestAttemptCount: true }),
    routes: rules.length === 0 ? [defaultRoute(own, hash)] : rules.flatMap((rule) => ruleRoutes(rule, port, kind)),
  };
}

/** What a service without a VirtualService does. */
function defaultRoute(cluster: string, hash: readonly HashKey[]): RouteInit {
  return {
    name: "default",
    match: { pathSpecifier: { case: "prefix", value: "/" } },
    action: {
      case: "route",
      value: {
        clusterSpecifier: { case: "cluster", value: cluster },
        ...timeouts(undefined),
        retryPolicy: retryPolicy(defaultRetry, hash.length > 0),
        hashPolicy: [...hashPolicies(hash)],
      },
    },
  };
}

/** Alternatives of a match become routes of their own: on the wire, conditions can only be ANDed. */
function ruleRoutes(
  { rule, matches, ...found }: StaticRule,
  port: number,
  kind: NodeView["kind"],
): readonly RouteInit[] {
  const action = ruleAction(rule, found, port, kind);
  const overrides = {
    ...(rule.fault === undefined ? {} : { [faultFilter]: fault(rule.fault) }),
    // gRPC's own libraries have no such filter, and no browser in front of them.
    ...(rule.cors === undefined || kind === "grpc" ? {} : { [corsFilterName]: corsOverride(rule.cors) }),
  };
  const alternatives =
    matches.length === 0 ? [undefined] : matches.filter((match) => kind !== "grpc" || isPlain(match));
  const own = perDestination(rule) ? undefined : (rule.destinations[0]?.headers ?? rule.headers);
  return alternatives.map((match) => ({
    name: [rule.name, match?.name ?? ""].filter((part) => part !== "").join("."),
    match: routeMatch(match, port, kind),
    ...retryHints(rule),
    action,
    typedPerFilterConfig: overrides,
    ...headerFields(own),
  }));
}

function ruleAction(rule: Rule, found: FoundParts, port: number, kind: NodeView["kind"]): RouteInit["action"] & {} {
  if (rule.answer !== undefined) return answerAction(rule.answer, port);
  // gRPC's libraries would call the method or host that was not meant: for them such a route fails (docs/mixed-mesh.md).
  if (kind === "grpc" && (rule.rewrite ?? rule.authority) !== undefined)
    return { case: "nonForwardingAction", value: {} };
  return { case: "route", value: routeAction(rule, found, kind) };
}

/**
 * Whether destinations differ in what they do to a request. Then each says all of it, the rule's part included: of two levels Envoy
 * would let the less specific have the last word.
 */
function perDestination({ destinations }: Rule): boolean {
  return destinations.length > 1 && destinations.some(({ headers }) => headers !== undefined);
}

function routeAction(
  rule: Rule,
  { ports, mirrorPorts, hash }: FoundParts,
  kind: NodeView["kind"],
): MessageInitShape<typeof RouteActionSchema> {
  const retry = rule.retry ?? defaultRetry;
  return {
    clusterSpecifier: clusterSpecifier(rule, ports),
    ...hostRewrite(rule.destinations.length === 1 ? (rule.destinations[0]?.authority ?? rule.authority) : undefined),
    ...pathRewrite(rule.rewrite),
    // gRPC's own libraries have no mirrors; a cluster that they never call is none of theirs.
    ...(kind === "grpc" ? {} : { requestMirrorPolicies: mirrorPolicies(rule, mirrorPorts) }),
    hashPolicy: [...hashPolicies(hash)],
    ...timeouts(rule.timeoutMs),
    ...(retry === "off" ? {} : { retryPolicy: retryPolicy(retry, hash.length > 0) }),
  };
}

function mirrorPolicies(
  { mirrors }: Rule,
  ports: readonly number[],
): MessageInitShape<typeof RouteActionSchema>["requestMirrorPolicies"] & {} {
  return mirrors.map(({ host, subset, perMillion }, index) => ({
    cluster: clusterName({ port: ports[index] ?? 0, subset, host }),
    ...(perMillion < 1_000_000 ? { runtimeFraction: { defaultValue: share(perMillion), runtimeKey: "" } } : {}),
  }));
}

function pathRewrite(
  rewrite: PathRewrite | undefined,
): Pick<MessageInitShape<typeof RouteActionSchema>, "prefixRewrite" | "regexRewrite"> {
  if (rewrite === undefined) return {};
  if (rewrite.kind === "matched") return { prefixRewrite: rewrite.value };
  return { regexRewrite: { pattern: { regex: rewrite.pattern }, substitution: rewrite.substitution } };
}

function hostRewrite(authority: string | undefined): Pick<HostRewritten, "hostRewriteSpecifier"> {
  return authority === undefined ? {} : { hostRewriteSpecifier: { case: "hostRewriteLiteral", value: authority } };
}

interface HostRewritten {
  readonly hostRewriteSpecifier?: { readonly case: "hostRewriteLiteral"; readonly value: string };
}

/** A single destination gets everything, whatever its weight (istio-api §2.4). */
function clusterSpecifier(
  rule: Rule,
  ports: readonly number[],
): MessageInitShape<typeof RouteActionSchema>["clusterSpecifier"] & {} {
  const { destinations } = rule;
  const weights = ofHundred(destinations.map(({ weight }) => weight));
  const clusters = destinations.map(({ host, subset, headers, authority }, index) => ({
    name: clusterName({ port: ports[index] ?? 0, subset, host }),
    weight: weights[index] ?? 0,
    ...headerFields(perDestination(rule) ? (headers ?? rule.headers) : undefined),
    ...hostRewrite(authority ?? rule.authority),
  }));
  const [only] = clusters;
  if (only !== undefined && clusters.length === 1) return { case: "cluster", value: only.name };
  return { case: "weightedClusters", value: { clusters } };
}

/** S39: the same shares of a sum of 100 if whole numbers can say them, because older clients take an absent total as 100. */
function ofHundred(weights: readonly number[]): readonly number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const scaled = weights.map((weight) => (weight * 100) / sum);
  return scaled.every(Number.isInteger) ? scaled : weights;
}

/** Both ways: `timeout` is read by HTTP clients, where absence would mean 15 s, `max_stream_duration` by gRPC (S40). */
function timeouts(
  ms: number | undefined,
): Pick<MessageInitShape<typeof RouteActionSchema>, "timeout" | "maxStreamDuration"> {
  if (ms === undefined) return { timeout: durationOf(0) };
  return { timeout: durationOf(ms), maxStreamDuration: { maxStreamDuration: durationOf(ms) } };
}

function fault({ delay, abort }: Fault): Any {
  return pack(HTTPFaultSchema, {
    ...(delay === undefined
      ? {}
      : {
          delay: {
            faultDelaySecifier: { case: "fixedDelay", value: durationOf(delay.ms) },
            percentage: share(delay.perMillion),
          },
        }),
    ...(abort === undefined
      ? {}
      : {
          abort: {
            errorType:
              "http" in abort.status
                ? { case: "httpStatus", value: abort.status.http }
                : { case: "grpcStatus", value: abort.status.grpc },
            percentage: share(abort.perMillion),
          },
        }),
  });
}

function share(perMillion: number): { numerator: number; denominator: FractionalPercent_DenominatorType } {
  return { numerator: perMillion, denominator: FractionalPercent_DenominatorType.MILLION };
}
