import type { Alarm, Clock, Timer } from "@trama/engine";

/** Virtual time: stands still until somebody advances it. */
export interface FakeClock extends Clock {
  /** Lets time pass, and fires what is due, in order of its due time; what that starts may fire too. */
  advance(ms: number): void;
  /** The event loop is held for so long: time passes and nothing fires; then all that fell due fires, late. */
  block(ms: number): void;
  /** Timers that are set and neither fired nor cancelled: a test that ends with some has found a leak. */
  readonly pending: number;
  /** Moves the wall clock alone, as an administrator or a bad battery does. */
  setWall(ms: number): void;
}

export function fakeClock(startMs = 1_000): FakeClock {
  let now = startMs;
  let wallOffset = Date.UTC(2026, 0, 1) - startMs;
  let stalled = 0;
  let serial = 0;
  const timers = new Map<number, { readonly at: number; readonly fire: () => void }>();
  const nextDue = (until: number): number | undefined => {
    let due: number | undefined;
    for (const [id, { at }] of timers) if (at <= until && (due === undefined || at < timers.get(due)!.at)) due = id;
    return due;
  };
  const set = (at: number, fire: () => void): Timer => {
    const id = serial++;
    timers.set(id, { at, fire });
    return { cancel: () => void timers.delete(id) };
  };
  const alarms = new Map<Alarm, Timer>();
  const unset = (alarm: Alarm): void => {
    alarms.get(alarm)?.cancel();
    alarms.delete(alarm);
  };
  return {
    now: () => now,
    wall: () => now + wallOffset,
    after: (delayMs, fn) => set(now + Math.max(0, delayMs), fn),
    set(alarm, atMs) {
      unset(alarm);
      const ring = (): void => {
        alarms.delete(alarm);
        alarm.ring();
      };
      alarms.set(alarm, set(Math.max(now, atMs), ring));
    },
    unset,
    advance(ms) {
      const end = now + ms;
      for (let id = nextDue(end); id !== undefined; id = nextDue(end)) {
        const { at, fire } = timers.get(id)!;
        timers.delete(id);
        now = Math.max(now, at);
        fire();
      }
      now = end;
    },
    stalled: () => stalled,
    block(ms) {
      now += ms;
      stalled += ms;
      this.advance(0);
    },
    get pending() {
      return timers.size;
    },
    setWall(ms) {
      wallOffset = ms - now;
    },
  };
}
