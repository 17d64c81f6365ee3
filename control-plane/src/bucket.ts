import type { Clock } from "./clock.ts";

/** Permits that come at a steady rate and are saved up to `burst`. The result takes one, or says that there is none. */
export function bucket(clock: Clock, perSecond: number, burst: number): () => boolean {
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
