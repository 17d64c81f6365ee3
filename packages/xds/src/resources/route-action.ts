import type { ForwardAction, HedgePolicy, MirrorPolicy, WeightedCluster } from "@trama/engine";
import type {
  HedgePolicy as ProtoHedgePolicy,
  RouteAction as ProtoRouteAction,
  RouteAction_RequestMirrorPolicy,
  WeightedCluster as ProtoWeightedCluster,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { durationMs } from "./duration.ts";
import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields, snake } from "./fields.ts";
import { overrides } from "./filters/overrides.ts";
import { hashPolicies } from "./hash-policy.ts";
import { headerFields, headerOperations } from "./header-operations.ts";
import { perMillion } from "./match.ts";
import { retryPolicy } from "./retry.ts";
import { rewrite } from "./rewrite.ts";
import type { RouteHints } from "./route-hints.ts";
import type { DecodeOptions } from "./type.ts";

/** R37: what a route without `timeout` has. */
const defaultTimeoutMs = 15_000;

export function forwardAction(action: ProtoRouteAction, hints: RouteHints, options: DecodeOptions): ForwardAction {
  onlyFields(
    action,
    [
      "clusterSpecifier",
      "timeout",
      "idleTimeout",
      "retryPolicy",
      "hedgePolicy",
      "maxStreamDuration",
      "maxGrpcTimeout",
      "prefixRewrite",
      "regexRewrite",
      "hostRewriteSpecifier",
      "appendXForwardedHost",
      "hashPolicy",
      "requestMirrorPolicies",
    ],
    harmless,
  );
  const retry = action.retryPolicy && within("retry_policy", () => retryPolicy(action.retryPolicy!, options));
  const hedge = hints.hedge ?? (action.hedgePolicy && within("hedge_policy", () => hedgePolicy(action.hedgePolicy!)));
  // Zero is none, and no word too: what the connection manager says of streams is about a proxy's own connections.
  const idle = action.idleTimeout && durationMs(action.idleTimeout, "idle_timeout");
  const own = rewrite(action, options);
  const hash = hashPolicies(action.hashPolicy, options);
  return {
    kind: "forward",
    clusters: clusters(action, options),
    timeoutMs: timeout(action),
    grpcTimeoutMs: grpcTimeout(action),
    ...(idle && { idleTimeoutMs: idle }),
    retry: retry && hints.idempotent ? { ...retry, idempotent: true } : retry,
    ...(hedge && { hedge }),
    ...(own && { rewrite: own }),
    ...(hash && { hash }),
    ...(action.requestMirrorPolicies.length > 0 && {
      mirrors: each("request_mirror_policies", action.requestMirrorPolicies, mirrorPolicy),
    }),
  };
}

/** Only the default of `runtime_fraction` counts (R32); without one every call is copied. Spans are the tracer's business. */
function mirrorPolicy(policy: RouteAction_RequestMirrorPolicy): MirrorPolicy {
  onlyFields(policy, ["cluster", "runtimeFraction", "disableShadowHostSuffixAppend"], ["traceSampled"]);
  if (policy.cluster === "") throw new ResourceError("cluster is empty");
  const fraction = policy.runtimeFraction?.defaultValue;
  return {
    cluster: policy.cluster,
    perMillion:
      policy.runtimeFraction === undefined
        ? 1_000_000
        : within("runtime_fraction", () => (fraction ? perMillion(fraction) : 0)),
    keepHost: policy.disableShadowHostSuffixAppend,
  };
}

/** Envoy itself carries out no more of it than this one field. */
export function hedgePolicy(policy: ProtoHedgePolicy): HedgePolicy | undefined {
  onlyFields(policy, ["initialRequests", "hedgeOnPerTryTimeout"]);
  if ((policy.initialRequests ?? 1) !== 1) unsupported("initial_requests");
  if (!policy.hedgeOnPerTryTimeout) return undefined;
  return { onPerTryTimeout: true, delayMs: undefined, percentile: undefined };
}

/**
 * The answer to a missing cluster is the engine's. 0-RTT is never used. The virtual host's rate limits are refused where they
 * stand.
 */
const harmless: readonly (keyof ProtoRouteAction)[] = [
  "clusterNotFoundResponseCode",
  "earlyDataPolicy",
  "includeVhRateLimits",
];

/** HTTP: absent is 15 s, zero is none. */
function timeout(action: ProtoRouteAction): number | undefined {
  if (action.timeout === undefined) return defaultTimeoutMs;
  return durationMs(action.timeout, "timeout") || undefined;
}

/** gRPC: `grpc_timeout_header_max`, else `max_stream_duration`, and the older field where neither is given; zero is none. */
function grpcTimeout({ maxStreamDuration: limits, maxGrpcTimeout: older }: ProtoRouteAction): number | undefined {
  if (limits !== undefined) onlyFields(limits, ["maxStreamDuration", "grpcTimeoutHeaderMax"]);
  const found = limits?.grpcTimeoutHeaderMax ?? limits?.maxStreamDuration ?? older;
  return found && (durationMs(found, "max_stream_duration") || undefined);
}

function clusters({ clusterSpecifier: one }: ProtoRouteAction, options: DecodeOptions): WeightedCluster[] {
  switch (one.case) {
    case "cluster":
      if (one.value === "") throw new ResourceError("cluster is empty");
      return [{ name: one.value, weight: 1, overrides: new Map() }];
    case "weightedClusters":
      return within("weighted_clusters", () => weighted(one.value, options));
    case undefined:
      throw new ResourceError("the route names no cluster, or in a way that this release does not know");
    default:
      return unsupported(snake(one.case));
  }
}

/** R35: the total is the sum, whatever `total_weight` says; a weight of zero is legal, all of them zero is not. */
function weighted(message: ProtoWeightedCluster, options: DecodeOptions): WeightedCluster[] {
  onlyFields(message, ["clusters"], ["totalWeight", "runtimeKeyPrefix"]);
  let sum = 0;
  const found = each("clusters", message.clusters, (one) => {
    onlyFields(one, ["name", "weight", "typedPerFilterConfig", "hostRewriteSpecifier", ...headerFields]);
    if (one.name === "") throw new ResourceError("name is empty");
    const weight = one.weight ?? 0;
    sum += weight;
    const own = within("typed_per_filter_config", () => overrides(one.typedPerFilterConfig, options));
    const headers = headerOperations(one);
    const { case: literal, value: authority } = one.hostRewriteSpecifier;
    return {
      name: one.name,
      weight,
      overrides: own,
      ...(headers && { headers }),
      ...(literal !== undefined && authority !== "" && { authority }),
    };
  });
  if (sum < 1 || sum > 0xffff_ffff) throw new ResourceError(`the weights add up to ${sum}, not to 1 … 2^32-1`);
  return found;
}
