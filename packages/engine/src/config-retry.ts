import type { HeaderMatch } from "./config-match.ts";

export interface RetryPolicy {
  /**
   * Envoy's `retry_on` words, HTTP and gRPC together; unknown words are dropped by the decoder. `http3-post-connect-failure`
   * is known and never true: nothing here speaks HTTP/3.
   */
  readonly retryOn: readonly string[];
  /** Added by `retriable-status-codes`. */
  readonly statusCodes: readonly number[];
  /** Retries after the first attempt, at least 1 (R40). */
  readonly retries: number;
  /** `undefined` = bounded by the whole call only. */
  readonly perTryTimeoutMs: number | undefined;
  /** The longest silence of an attempt, of its answer too, ≥ 1; `undefined` = any (`per_try_idle_timeout`). */
  readonly perTryIdleTimeoutMs?: number | undefined;
  /** R41: base > 0, max ≥ base. */
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  /** `envoy.retry_host_predicates.previous_hosts`: avoid endpoints already tried. */
  readonly avoidPreviousHosts: boolean;
  /** How often a pick is repeated to find such an endpoint (`host_selection_retry_max_attempts`). */
  readonly hostSelectionAttempts: number;
  /**
   * `envoy.retry_priorities.previous_priorities`, its `update_frequency`: after every so many attempts, priorities already
   * tried are avoided; with none left, all count again. `undefined` = never (Istio: `retryRemoteLocalities`).
   */
  readonly avoidPreviousPriorities?: number | undefined;
  /** `retriable_headers`: under the word `retriable-headers`, an answer that meets any of them is worth a retry. */
  readonly answerHeaders?: readonly HeaderMatch[] | undefined;
  /** `retriable_request_headers`: only requests that meet one of them are repeated. `undefined` = all. */
  readonly requestHeaders?: readonly HeaderMatch[] | undefined;
  /**
   * `rate_limited_retry_back_off`: fields of an answer that say when to come again, and the longest pause that is granted.
   * `undefined`: `Retry-After`, up to 300 s.
   */
  readonly resets?: { readonly headers: readonly ResetHeader[]; readonly maxMs: number } | undefined;
  /** The route's owner says that its requests can be repeated whatever their method. */
  readonly idempotent?: boolean | undefined;
}

export interface ResetHeader {
  /** Lower case. */
  readonly name: string;
  /** A span from now, or a moment, both in seconds; `retry-after` may also be a date. */
  readonly unit: "seconds" | "unix_time";
}

/**
 * A second attempt beside one that is slow: whichever answers first wins, and the other is cut. Only for calls that can be
 * repeated without harm; each attempt more counts as a retry, against `retries` and the budget. Nothing without a RetryPolicy.
 */
export interface HedgePolicy {
  /** Envoy's `hedge_on_per_try_timeout`: an attempt that is out of its per-try time goes on beside the next. */
  readonly onPerTryTimeout: boolean;
  /** After this long without an answer; with `percentile` the time that holds until enough answers were seen. */
  readonly delayMs: number | undefined;
  /** After the time in which this share of the cluster's answers has come: 0.95. Never less than a millisecond. */
  readonly percentile: number | undefined;
}
