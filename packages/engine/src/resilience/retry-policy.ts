import type { Call } from "../call.ts";
import type { RetryPolicy } from "../config.ts";
import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";

/** The words of `retry_on` as bits, so that judging an answer is an `and`. */
const ON = {
  "5xx": 1 << 0,
  "gateway-error": 1 << 1,
  reset: 1 << 2,
  "reset-before-request": 1 << 3,
  "connect-failure": 1 << 4,
  "refused-stream": 1 << 5,
  "retriable-4xx": 1 << 6,
  "retriable-status-codes": 1 << 7,
  cancelled: 1 << 8,
  "deadline-exceeded": 1 << 9,
  internal: 1 << 10,
  "resource-exhausted": 1 << 11,
  unavailable: 1 << 12,
} as const;

const GRPC_WORDS = ON.cancelled | ON["deadline-exceeded"] | ON.internal | ON["resource-exhausted"] | ON.unavailable;
/** Envoy's reading: an attempt that brought no answer counts as a 5xx, for a 5xx is what the caller would get. */
const NO_ANSWER = ON["5xx"] | ON["gateway-error"] | ON.reset;
/** By gRPC status number. */
const GRPC_STATUS: Readonly<Record<number, number>> = {
  1: ON.cancelled,
  4: ON["deadline-exceeded"],
  8: ON["resource-exhausted"],
  13: ON.internal,
  14: ON.unavailable,
};

/** RFC 9110 §9.2.2. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);
/** A server that asks for a longer pause than this does not want a retry. */
const MAX_PUSHBACK_MS = 300_000;

/** A route's retry policy, compiled once. Says what is worth a retry; whether there may be one is asked elsewhere. */
export class RetryPlan {
  readonly policy: RetryPolicy;
  readonly #words: number;
  readonly #codes: ReadonlySet<number>;

  constructor(policy: RetryPolicy) {
    this.policy = policy;
    let words = 0;
    for (const word of policy.retryOn) words |= Object.hasOwn(ON, word) ? ON[word as keyof typeof ON] : 0;
    this.#words = words;
    this.#codes = new Set(policy.statusCodes);
  }

  /** Whether an end can still bring what a head did not say: only then is a gRPC head held back. */
  get watchesTrailers(): boolean {
    return (this.#words & GRPC_WORDS) !== 0;
  }

  wantsStatus(status: number): boolean {
    const words = this.#words;
    if (status >= 500 && (words & ON["5xx"]) !== 0) return true;
    if (status >= 502 && status <= 504 && (words & ON["gateway-error"]) !== 0) return true;
    if (status === 409 && (words & ON["retriable-4xx"]) !== 0) return true;
    return (words & ON["retriable-status-codes"]) !== 0 && this.#codes.has(status);
  }

  wantsGrpcStatus(code: number): boolean {
    return (this.#words & (GRPC_STATUS[code] ?? 0)) !== 0;
  }

  /** Decided by the code and by `sent`, never by the text (dataplane rule: errors carry facts). */
  wantsError(error: MeshError, grpc: boolean): boolean {
    let classes = NO_ANSWER;
    switch (error.code) {
      case "CONNECT_FAILED":
      case "TLS_FAILED":
        classes |= ON["connect-failure"];
        break;
      case "REFUSED":
        classes |= ON["refused-stream"];
        break;
      case "RESET":
      case "PROTOCOL_ERROR":
      case "PER_TRY_TIMEOUT":
        break;
      default:
        // Refused by a breaker, denied, out of time, closing, no endpoint: nothing that a repetition would mend (R42).
        return false;
    }
    if (!error.sent) classes |= ON["reset-before-request"];
    // What a gRPC client reports when the connection failed; its own retry would see the same word.
    if (grpc) classes |= error.code === "PER_TRY_TIMEOUT" ? ON["deadline-exceeded"] : ON.unavailable;
    return (this.#words & classes) !== 0;
  }

  /**
   * Full jitter: uniform in [0, min((2ⁿ − 1) × base, max)) before the n-th retry, n from 1 (R41; Envoy's
   * `retry_back_off`). Spread over the whole range, or those that failed together come back together.
   */
  backoffMs(retry: number, random: number): number {
    const { backoffBaseMs, backoffMaxMs } = this.policy;
    return random * Math.min((2 ** retry - 1) * Math.max(1, backoffBaseMs), Math.max(1, backoffMaxMs));
  }
}

/** Whether repeating the request can do no harm: by its method, or because the caller says so. */
export function isIdempotent(call: Call): boolean {
  return IDEMPOTENT.has(call.method) || (call.headers.get("idempotency-key") ?? "") !== "";
}

/**
 * `grpc-retry-pushback-ms` (gRFC A6): the pause that the server asks for; `undefined`: it says nothing; `"never"`:
 * negative, unparsable or absurd, which all mean that it wants no retry.
 */
export function pushback(headers: HeaderList | undefined): number | "never" | undefined {
  const text = headers?.get("grpc-retry-pushback-ms");
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) : Infinity;
  return ms <= MAX_PUSHBACK_MS ? ms : "never";
}

/**
 * The pause that a failure asks for, whether anybody retries or not: `grpc-retry-pushback-ms`, or the seconds of `Retry-After`; -1: none,
 * or a date, which would say more of two clocks than of the pause.
 */
export function askedMs(headers: HeaderList): number {
  const pause = pushback(headers);
  if (pause !== undefined) return pause === "never" ? MAX_PUSHBACK_MS : pause;
  const seconds = headers.get("retry-after");
  return seconds !== undefined && /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1_000 : -1;
}

/** `grpc-status` of a trailers-only head or of trailers; -1 when there is none. */
export function grpcStatusOf(headers: HeaderList | undefined): number {
  const text = headers?.get("grpc-status");
  return text !== undefined && /^\d{1,3}$/.test(text) ? Number(text) : -1;
}
