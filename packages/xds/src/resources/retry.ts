import type { RetryPolicy } from "@trama/engine";
import { PreviousHostsPredicateSchema } from "@trama/proto/lean";
import type {
  RetryPolicy as ProtoRetryPolicy,
  RetryPolicy_RetryHostPredicate,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { openAny } from "./any.ts";
import { durationMs } from "./duration.ts";
import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";

/** Envoy's words, HTTP and gRPC together; others are passed over (R40). */
const words = new Set([
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "envoy-ratelimited",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "http3-post-connect-failure",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
]);

const defaultBaseMs = 25;

/** Keeps the counter of a hostile server from holding a call for ever. */
const maxHostSelectionAttempts = 1_000;

export function retryPolicy(policy: ProtoRetryPolicy): RetryPolicy {
  onlyFields(policy, [
    "retryOn",
    "numRetries",
    "perTryTimeout",
    "retryHostPredicate",
    "hostSelectionRetryMaxAttempts",
    "retriableStatusCodes",
    "retryBackOff",
  ]);
  const retries = policy.numRetries ?? 1;
  if (retries < 1) throw new ResourceError("num_retries must be at least 1; leave the policy out for none");
  const perTry = policy.perTryTimeout && durationMs(policy.perTryTimeout, "per_try_timeout");
  return {
    retryOn: retryOn(policy.retryOn),
    statusCodes: [...policy.retriableStatusCodes],
    retries,
    perTryTimeoutMs: perTry || undefined,
    ...within("retry_back_off", () => backoff(policy)),
    avoidPreviousHosts: each("retry_host_predicate", policy.retryHostPredicate, previousHosts).length > 0,
    hostSelectionAttempts: Number(min(policy.hostSelectionRetryMaxAttempts || 1n, BigInt(maxHostSelectionAttempts))),
  };
}

function retryOn(text: string): string[] {
  const found = text.split(",").map((word) => word.trim());
  if (found.includes("retriable-headers")) unsupported("retry_on: retriable-headers");
  return [...new Set(found.filter((word) => words.has(word)))];
}

/** R41: base > 0, the cap (10 × base if it is not given) is not below it, and less than a millisecond counts as one. */
function backoff({ retryBackOff }: ProtoRetryPolicy): { backoffBaseMs: number; backoffMaxMs: number } {
  if (retryBackOff === undefined) return { backoffBaseMs: defaultBaseMs, backoffMaxMs: 10 * defaultBaseMs };
  onlyFields(retryBackOff, ["baseInterval", "maxInterval"]);
  const base = retryBackOff.baseInterval && durationMs(retryBackOff.baseInterval, "base_interval");
  if (!base) throw new ResourceError("base_interval must be greater than zero");
  const backoffBaseMs = Math.max(1, base);
  if (retryBackOff.maxInterval === undefined) return { backoffBaseMs, backoffMaxMs: 10 * backoffBaseMs };
  const max = durationMs(retryBackOff.maxInterval, "max_interval");
  if (max < base) throw new ResourceError("max_interval is less than base_interval");
  return { backoffBaseMs, backoffMaxMs: Math.max(1, max) };
}

function previousHosts({ name, configType }: RetryPolicy_RetryHostPredicate): true {
  const known =
    configType.case === "typedConfig"
      ? openAny(configType.value).typeName === PreviousHostsPredicateSchema.typeName
      : name === "envoy.retry_host_predicates.previous_hosts";
  return known ? true : unsupported(name);
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
