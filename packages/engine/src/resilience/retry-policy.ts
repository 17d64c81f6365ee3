import type { Call } from "../call.ts";
import type { HedgePolicy, RetryPolicy } from "../config.ts";
import type { Clock, Env } from "../env.ts";
import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import { compileField, compileHeader } from "../match/header.ts";
import type { CallTest, FieldTest } from "../match/header.ts";
import type { ResponseHead } from "../service.ts";
import { askedPause } from "./pause.ts";

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
  "envoy-ratelimited": 1 << 13,
  "retriable-headers": 1 << 14,
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
/** Envoy's rate limits say so with an answer: it is repeated only where the policy names them. */
const RATE_LIMITED = "x-envoy-ratelimited";

/**
 * A route's retry and hedging policy, compiled once. Says what is worth a retry; whether there may be one is asked elsewhere.
 */
export class RetryPlan {
  readonly policy: RetryPolicy;
  readonly hedge: HedgePolicy | undefined;
  readonly #words: number;
  readonly #codes: ReadonlySet<number>;
  readonly #answers: readonly FieldTest[];
  readonly #requests: readonly CallTest[] | undefined;

  constructor(policy: RetryPolicy, env: Pick<Env, "regex">, hedge?: HedgePolicy) {
    this.policy = policy;
    this.hedge = hedge;
    let words = 0;
    for (const word of policy.retryOn) words |= Object.hasOwn(ON, word) ? ON[word as keyof typeof ON] : 0;
    this.#words = words;
    this.#codes = new Set(policy.statusCodes);
    const named = (words & ON["retriable-headers"]) !== 0 ? policy.answerHeaders : undefined;
    this.#answers = named?.map((match) => compileField(match, env)) ?? [];
    this.#requests = policy.requestHeaders?.map((match) => compileHeader(match, env));
  }

  /** Whether an end can still bring what a head did not say: only then is a gRPC head held back. */
  get watchesTrailers(): boolean {
    return (this.#words & GRPC_WORDS) !== 0;
  }

  /** Whether the policy is about this request at all. */
  takes(call: Call): boolean {
    return this.#requests === undefined || this.#requests.some((test) => test(call));
  }

  /** Whether repeating the request can do no harm: by its method, or because the caller or the route's owner says so. */
  isIdempotent(call: Call): boolean {
    return (
      this.policy.idempotent === true ||
      IDEMPOTENT.has(call.method) ||
      (call.headers.get("idempotency-key") ?? "") !== ""
    );
  }

  /** `grpcStatus` as the head says it; -1 when it does not. Header fields are read only where they can decide. */
  wantsAnswer(head: ResponseHead, grpcStatus: number): boolean {
    const words = this.#words;
    const wanted = grpcStatus >= 0 ? this.wantsGrpcStatus(grpcStatus) : this.#wantsStatus(head.status);
    if (!wanted && (words & ON["envoy-ratelimited"]) === 0 && this.#answers.length === 0) return false;
    if (head.headers.has(RATE_LIMITED)) return (words & ON["envoy-ratelimited"]) !== 0;
    return wanted || this.#answers.some((test) => test(head.headers));
  }

  #wantsStatus(status: number): boolean {
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
   * The pause that an answer asks for, and up to half as much again, for others were told the same (Envoy's
   * `rate_limited_retry_back_off`). `undefined`: it asks for none.
   */
  pauseMs(headers: HeaderList, clock: Clock, random: number): number | undefined {
    const asked = askedPause(headers, clock, this.policy.resets);
    return asked === undefined ? undefined : asked * (1 + random / 2);
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

/** `grpc-status` of a trailers-only head or of trailers; -1 when there is none. */
export function grpcStatusOf(headers: HeaderList | undefined): number {
  const text = headers?.get("grpc-status");
  return text !== undefined && /^\d{1,3}$/.test(text) ? Number(text) : -1;
}
