import type { Clock } from "./env.ts";

/** A block that took less than this share of a limit decides nothing: the answer would have had to come in just that moment, and is then read first. */
const negligible = 0.1;

/**
 * Whether a limit of `limitMs` that began at `startMs` was not really waited out: the event loop of this process was blocked
 * meanwhile, so the other side was not watched for so long, and its answer may lie unread. Such a time-out is our own doing
 * and is never blamed on the endpoint (dataplane.md §15). `stalledMs` is `clock.stalled()` of the start.
 */
export function ownDelay(clock: Clock, startMs: number, stalledMs: number, limitMs: number): boolean {
  return isOwn(owedMs(clock, startMs, stalledMs, limitMs), limitMs);
}

/**
 * Whether so much of a limit is missing that it was not waited out. Any process is blocked for a moment now and then: were each of those moments
 * an excuse, an endpoint that never answers would not be found out by the time-outs of many seconds that it runs into.
 */
export function isOwn(owed: number, limitMs: number): boolean {
  return owed > limitMs * negligible;
}

/** How much of such a limit the other side has not had yet; 0 when it was waited out, or nothing was blocked. */
export function owedMs(clock: Clock, startMs: number, stalledMs: number, limitMs: number): number {
  const nowMs = clock.now();
  const stalled = clock.stalled(nowMs) - stalledMs;
  return stalled > 0 ? Math.max(0, limitMs - (nowMs - startMs - stalled)) : 0;
}
