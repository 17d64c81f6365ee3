import type { Attempt, Clock } from "@trama/engine";

/**
 * How a deadline and the number of an attempt travel over HTTP: in the fields by which Envoy's router tells the same to its upstream.
 * gRPC has `grpc-timeout` and `grpc-previous-rpc-attempts` (gRFC A6) for them.
 */
export const expectedTimeoutField = "x-envoy-expected-rq-timeout-ms";
export const attemptCountField = "x-envoy-attempt-count";
export const previousAttemptsField = "grpc-previous-rpc-attempts";

/** Node's timers hold no more milliseconds; a longer time-out means the same as none. */
const longestMs = 0x7fff_ffff;

/** What the caller says of a call: read anew from each request, and only of callers that the mesh knows. */
export interface Hop {
  /** Milliseconds from its arrival; `Infinity` without a deadline. */
  timeoutMs: number;
  /** 1 for the first attempt at the work. */
  attempt: number;
}

/**
 * Writes the fields of an attempt over HTTP into `fields`, from `at` on, and returns where they end: none for most calls. The time is
 * what is left of the whole call and not the per-try time-out, as Envoy has it: that one guards the wait for a head, and an attempt
 * that is given up is cut anyway.
 */
export function putHopFields(fields: string[], at: number, attempt: Attempt, clock: Clock): number {
  const { deadlineMs, tellAttempt } = attempt.call;
  const { total } = attempt;
  if (total > 1 || tellAttempt) {
    fields[at++] = attemptCountField;
    fields[at++] = String(total);
  }
  if (deadlineMs !== Infinity) {
    fields[at++] = expectedTimeoutField;
    fields[at++] = String(Math.max(1, Math.floor(deadlineMs - clock.now())));
  }
  return at;
}

/** Takes a field of a request over, or says what is wrong with it: a bad number is an error, never "none" (dataplane.md §5). */
export function readHopField(hop: Hop, name: string, value: string): string | undefined {
  const lower = name.toLowerCase();
  if (lower === expectedTimeoutField) {
    const ms = wholeNumber(value);
    if (ms === undefined || hop.timeoutMs !== Infinity) return `malformed ${expectedTimeoutField}`;
    if (ms <= longestMs) hop.timeoutMs = ms;
  } else if (lower === attemptCountField) {
    const attempt = wholeNumber(value);
    if (attempt === undefined) return `malformed ${attemptCountField}`;
    hop.attempt = Math.max(hop.attempt, attempt);
  } else if (lower === previousAttemptsField) {
    const previous = value === "0" ? 0 : wholeNumber(value);
    if (previous === undefined) return `malformed ${previousAttemptsField}`;
    hop.attempt = Math.max(hop.attempt, previous + 1);
  }
  return undefined;
}

/** At least 1, at most ten digits. */
function wholeNumber(text: string): number | undefined {
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}
