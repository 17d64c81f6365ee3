import type { Clock } from "../clock.ts";

/** S29: a bucket of permits that fills at a steady rate, so that a storm of reconnects leaves time for pushes. */
export function acceptRate(clock: Clock, perSecond: number, burst: number): () => boolean {
  let permits = burst;
  let filledAt = clock.now();
  return () => {
    const now = clock.now();
    permits = Math.min(burst, permits + (Math.max(0, now - filledAt) / 1_000) * perSecond);
    filledAt = now;
    if (permits < 1) return false;
    permits -= 1;
    return true;
  };
}
