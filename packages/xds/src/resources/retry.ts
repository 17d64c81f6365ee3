import type { HeaderMatch, ResetHeader, RetryPolicy } from "@trama/engine";
import {
  PreviousHostsPredicateSchema,
  PreviousPrioritiesConfigSchema,
  RetryPolicy_ResetHeaderFormat,
} from "@trama/proto/lean";
import type {
  HeaderMatcher,
  RetryPolicy as ProtoRetryPolicy,
  RetryPolicy_RateLimitedRetryBackOff,
  RetryPolicy_ResetHeader,
  RetryPolicy_RetryHostPredicate,
  RetryPolicy_RetryPriority,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { openAny } from "./any.ts";
import { durationMs } from "./duration.ts";
import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { headerMatch } from "./match.ts";
import type { DecodeOptions } from "./type.ts";

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
  "retriable-headers",
  "http3-post-connect-failure",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
]);

const defaultBaseMs = 25;
/** `rate_limited_retry_back_off.max_interval`. */
const defaultMaxPauseMs = 300_000;
/** `update_frequency` of Istio, and of those who leave it out. */
const defaultUpdateFrequency = 2;

/** Keeps the counter of a hostile server from holding a call for ever. */
const maxHostSelectionAttempts = 1_000;

export function retryPolicy(policy: ProtoRetryPolicy, options: DecodeOptions): RetryPolicy {
  onlyFields(policy, [
    "retryOn",
    "numRetries",
    "perTryTimeout",
    "perTryIdleTimeout",
    "retryHostPredicate",
    "hostSelectionRetryMaxAttempts",
    "retriableStatusCodes",
    "retryBackOff",
    "retryPriority",
    "retriableHeaders",
    "retriableRequestHeaders",
    "rateLimitedRetryBackOff",
  ]);
  const retries = policy.numRetries ?? 1;
  if (retries < 1) throw new ResourceError("num_retries must be at least 1; leave the policy out for none");
  const perTry = policy.perTryTimeout && durationMs(policy.perTryTimeout, "per_try_timeout");
  const perTryIdle = policy.perTryIdleTimeout && durationMs(policy.perTryIdleTimeout, "per_try_idle_timeout");
  return {
    retryOn: retryOn(policy.retryOn),
    statusCodes: [...policy.retriableStatusCodes],
    retries,
    perTryTimeoutMs: perTry || undefined,
    ...(perTryIdle && { perTryIdleTimeoutMs: perTryIdle }),
    ...within("retry_back_off", () => backoff(policy)),
    avoidPreviousHosts: each("retry_host_predicate", policy.retryHostPredicate, previousHosts).length > 0,
    hostSelectionAttempts: Number(min(policy.hostSelectionRetryMaxAttempts || 1n, BigInt(maxHostSelectionAttempts))),
    ...(policy.retryPriority && {
      avoidPreviousPriorities: within("retry_priority", () => previousPriorities(policy.retryPriority!)),
    }),
    answerHeaders: answerHeaders(policy, options),
    requestHeaders: headers("retriable_request_headers", policy.retriableRequestHeaders, options),
    ...(policy.rateLimitedRetryBackOff && {
      resets: within("rate_limited_retry_back_off", () => resets(policy.rateLimitedRetryBackOff!)),
    }),
  };
}

function headers(
  field: string,
  matchers: readonly HeaderMatcher[],
  options: DecodeOptions,
): readonly HeaderMatch[] | undefined {
  return matchers.length === 0 ? undefined : each(field, matchers, (one) => headerMatch(one, options));
}

/** Pseudo fields of an answer are its status, for which there are words. */
function answerHeaders(
  { retriableHeaders }: ProtoRetryPolicy,
  options: DecodeOptions,
): readonly HeaderMatch[] | undefined {
  const found = headers("retriable_headers", retriableHeaders, options);
  const pseudo = found?.find(({ name }) => name.startsWith(":"));
  return pseudo === undefined ? found : unsupported(`retriable_headers: ${pseudo.name}`);
}

function resets({ resetHeaders, maxInterval, ...rest }: RetryPolicy_RateLimitedRetryBackOff): RetryPolicy["resets"] {
  onlyFields(rest, []);
  if (resetHeaders.length === 0) throw new ResourceError("reset_headers is empty");
  const maxMs = maxInterval === undefined ? defaultMaxPauseMs : durationMs(maxInterval, "max_interval");
  if (maxMs <= 0) throw new ResourceError("max_interval must be greater than zero");
  return { headers: each("reset_headers", resetHeaders, resetHeader), maxMs };
}

function resetHeader({ name, format }: RetryPolicy_ResetHeader): ResetHeader {
  if (name === "") throw new ResourceError("name is empty");
  switch (format) {
    case RetryPolicy_ResetHeaderFormat.SECONDS:
      return { name: name.toLowerCase(), unit: "seconds" };
    case RetryPolicy_ResetHeaderFormat.UNIX_TIMESTAMP:
      return { name: name.toLowerCase(), unit: "unix_time" };
    default:
      return unsupported(`format ${String(format)}`);
  }
}

function previousPriorities({ name, configType }: RetryPolicy_RetryPriority): number {
  if (configType.case !== "typedConfig") {
    return name === "envoy.retry_priorities.previous_priorities" ? defaultUpdateFrequency : unsupported(name);
  }
  const typed = openAny(configType.value);
  if (typed.typeName !== PreviousPrioritiesConfigSchema.typeName) return unsupported(name);
  const { updateFrequency } = typed.as(PreviousPrioritiesConfigSchema);
  if (updateFrequency < 1) throw new ResourceError("update_frequency must be at least 1");
  return updateFrequency;
}

function retryOn(text: string): string[] {
  const found = text.split(",").map((word) => word.trim());
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
