import type { Clock } from "../../src/clock.ts";

export interface FakeClock extends Clock {
  /** Lets time pass, and calls what falls due in its order. */
  advance(ms: number): void;
  readonly waiting: number;
}

export function fakeClock(start: number = Date.parse("2030-01-01T00:00:00Z")): FakeClock {
  let now = start;
  const timers = new Set<{ readonly at: number; readonly fn: () => void }>();
  return {
    now: () => now,
    after(ms, fn) {
      const timer = { at: now + ms, fn };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = Math.max(now, next.at);
        next.fn();
      }
      now = end;
    },
    get waiting() {
      return timers.size;
    },
  };
}
