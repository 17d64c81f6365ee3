import type { ResetHeader, RetryPolicy } from "../config.ts";
import type { Clock } from "../env.ts";
import type { HeaderList } from "../headers.ts";

/** Whoever asks for a longer pause than this does not want a retry; also Envoy's default `max_interval`. */
export const MAX_PAUSE_MS = 300_000;

/** What holds without `rate_limited_retry_back_off`: RFC 9110 §10.2.3. */
const RETRY_AFTER: NonNullable<RetryPolicy["resets"]> = {
  headers: [{ name: "retry-after", unit: "seconds" }],
  maxMs: MAX_PAUSE_MS,
};

/**
 * How long an answer asks to be left in peace before it is asked again; `undefined`: it says nothing, or nothing sensible.
 * The first of the named fields that can be read counts. Negative, past, absurd and malformed values are passed over, as in
 * Envoy: the usual back-off holds then.
 */
export function askedPause(
  headers: HeaderList,
  clock: Clock,
  resets: RetryPolicy["resets"] = RETRY_AFTER,
): number | undefined {
  for (const reset of resets.headers) {
    const text = headers.get(reset.name);
    if (text === undefined) continue;
    const ms = pauseOf(reset, text, clock);
    if (ms !== undefined && ms > 0 && ms <= resets.maxMs) return ms;
  }
  return undefined;
}

function pauseOf({ name, unit }: ResetHeader, text: string, clock: Clock): number | undefined {
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1_000 - (unit === "unix_time" ? clock.wall() : 0);
  if (name !== "retry-after" || !DATE.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at - clock.wall();
}

/** IMF-fixdate, the one form that senders may use (RFC 9110 §5.6.7). */
const DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

/**
 * `grpc-retry-pushback-ms` (gRFC A6): the pause that the server asks for; `undefined`: it says nothing; `"never"`:
 * negative, unparsable or absurd, which all mean that it wants no retry.
 */
export function pushback(headers: HeaderList | undefined): number | "never" | undefined {
  const text = headers?.get("grpc-retry-pushback-ms");
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) : Infinity;
  return ms <= MAX_PAUSE_MS ? ms : "never";
}

/**
 * The pause that a failure asks for, whether anybody retries or not: `grpc-retry-pushback-ms`, or the seconds of `Retry-After`; -1: none,
 * or a date, which would say more of two clocks than of the pause.
 */
export function askedMs(headers: HeaderList): number {
  const pause = pushback(headers);
  if (pause !== undefined) return pause === "never" ? MAX_PAUSE_MS : pause;
  const seconds = headers.get("retry-after");
  return seconds !== undefined && /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1_000 : -1;
}
