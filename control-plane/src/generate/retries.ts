import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RetryPolicySchema, RouteSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { PreviousHostsPredicateSchema } from "@trama/proto/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js";
import { PreviousPrioritiesConfigSchema } from "@trama/proto/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js";

import type { Retry, Rule } from "../model/route.ts";
import { durationOf, pack } from "./wire.ts";

/** `hashed`: the endpoint is chosen by a key, and a retry that avoids it would leave what the key stands for. */
export function retryPolicy(retry: Retry, hashed: boolean): MessageInitShape<typeof RetryPolicySchema> {
  return {
    retryOn: retry.conditions.join(","),
    numRetries: retry.retries,
    retriableStatusCodes: [...retry.statusCodes],
    ...(retry.perTryTimeoutMs === undefined ? {} : { perTryTimeout: durationOf(retry.perTryTimeoutMs) }),
    ...(retry.backoffMs === undefined
      ? {}
      : { retryBackOff: { baseInterval: durationOf(retry.backoffMs), maxInterval: durationOf(retry.backoffMs * 10) } }),
    ...((retry.avoidPreviousHosts ?? !hashed) ? avoidPreviousHosts : {}),
    ...(retry.remoteLocalities ? avoidPreviousPriorities : {}),
  };
}

/** Five re-selections, as in Istio. */
const avoidPreviousHosts = {
  retryHostPredicate: [
    {
      name: "envoy.retry_host_predicates.previous_hosts",
      configType: { case: "typedConfig" as const, value: pack(PreviousHostsPredicateSchema, {}) },
    },
  ],
  hostSelectionRetryMaxAttempts: 5n,
};

/** From the second retry on, as in Istio: the first may find another endpoint near by. */
const avoidPreviousPriorities = {
  retryPriority: {
    name: "envoy.retry_priorities.previous_priorities",
    configType: { case: "typedConfig" as const, value: pack(PreviousPrioritiesConfigSchema, { updateFrequency: 2 }) },
  },
};

/** What xDS has no field for: metadata of the route, which our own clients read and all others pass over. */
export function retryHints({
  idempotent,
  hedge: wanted,
  retry,
}: Rule): Pick<MessageInitShape<typeof RouteSchema>, "metadata"> {
  // A hedge counts as a retry.
  const hedge = retry === "off" ? undefined : wanted;
  if (!idempotent && hedge === undefined) return {};
  return {
    metadata: {
      filterMetadata: {
        trama: {
          ...(idempotent && { idempotent }),
          ...(hedge && {
            hedge: {
              ...(hedge.percent !== undefined && { percentile: hedge.percent }),
              ...(hedge.afterMs !== undefined && { delay_ms: hedge.afterMs }),
            },
          }),
        },
      },
    },
  };
}
