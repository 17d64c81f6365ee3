import { AsyncLocalStorage } from "node:async_hooks";
import type { Alarm, Clock, Timer } from "@trama/engine";

/** Width of a tick: a deadline is kept to within one of these. */
const tickMs = 10;
/** Ticks around the wheel; what is further away waits in its slot for more turns. */
const slots = 512;
/** A tick that comes later than this was held up by something that blocked the event loop; less is the work of a busy process. */
const stallMs = 50;

/**
 * Real time, with one Node timer for all deadlines. A call sets and unsets up to two alarms; `setTimeout` would cost
 * half a microsecond and a list entry for each, the wheel two links of the alarm itself (Varghese and Lauck's hashed
 * wheel). The Node timer runs only while something waits and never keeps the process alive.
 */
export function createClock(): Clock & { close(): void } {
  const wheel: Alarm[] = Array.from({ length: slots }, () => new Slot());
  /** Those of the slot that is being visited. */
  const due: Alarm = new Slot();
  let waiting = 0;
  let ticker: NodeJS.Timeout | undefined;
  let tick = 0;
  /** When the ticker last had its turn. */
  let turnedMs = 0;
  let stalled = 0;
  let afterInput: NodeJS.Immediate | undefined;
  // Timers belong to nobody: the request that happened to start the ticker must not be the context of all that follows.
  const outside = AsyncLocalStorage.snapshot();

  // Not `performance.now()`, which takes twice as long, and 2 ms to load what is measured by it besides.
  // Not `process.hrtime()`: read by itself it is as fast, and spares the 2 ms that `perf_hooks` takes to load, but among the work of a call each
  // reading takes seven microseconds (bench, client: 53 µs a request more than plain, where it is 15).
  const now = (): number => performance.now();

  /** How much longer than a tick it is since the last turn, where that is a block. */
  const lag = (nowMs: number): number => {
    const late = nowMs - turnedMs - tickMs;
    return ticker === undefined || late < stallMs ? 0 : late;
  };

  const turn = (): void => {
    const nowMs = now();
    const late = lag(nowMs);
    turnedMs = nowMs;
    if (late === 0) return fire();
    // Timers come before input in Node's loop. What arrived during the block is read first: an answer beats its time-out.
    stalled += late;
    afterInput ??= setImmediate(() => {
      afterInput = undefined;
      fire();
    });
  };

  const fire = (): void => {
    // A blocked event loop catches up: every slot it slept through is visited, at most one turn.
    const target = Math.floor(now() / tickMs);
    if (target - tick > slots) tick = target - slots;
    while (tick < target) {
      tick++;
      const head = wheel[tick % slots]!;
      for (let each = head.nextAlarm!; each !== head;) {
        const next = each.nextAlarm!;
        if (each.dueTick <= tick) move(each, due);
        each = next;
      }
      // From here on, for whatever rings may unset its neighbours, or set them anew.
      while (due.nextAlarm !== due) {
        const alarm = due.nextAlarm!;
        unset(alarm);
        alarm.ring();
      }
    }
    if (waiting === 0 && ticker !== undefined) {
      clearInterval(ticker);
      ticker = undefined;
    }
  };

  const unset = (alarm: Alarm): void => {
    if (alarm.nextAlarm === undefined) return;
    unlink(alarm);
    alarm.nextAlarm = alarm.previousAlarm = undefined;
    waiting--;
  };

  const set = (alarm: Alarm, atMs: number): void => {
    unset(alarm);
    if (ticker === undefined) {
      turnedMs = now();
      tick = Math.floor(turnedMs / tickMs);
      ticker = outside(setInterval, turn, tickMs);
      ticker.unref();
    }
    // Never early: the tick in which the moment has wholly passed.
    alarm.dueTick = Math.max(Math.ceil(Math.min(atMs, 2 ** 40) / tickMs), tick + 1);
    link(alarm, wheel[alarm.dueTick % slots]!);
    waiting++;
  };

  return {
    now,
    wall: () => Date.now(),
    after(delayMs, fn): Timer {
      const alarm = new Callback(fn);
      set(alarm, now() + delayMs);
      return { cancel: () => unset(alarm) };
    },
    set,
    unset,
    stalled: (nowMs) => stalled + lag(nowMs),
    close() {
      clearInterval(ticker);
      clearImmediate(afterInput);
      ticker = undefined;
    },
  };
}

function link(alarm: Alarm, slot: Alarm): void {
  const last = slot.previousAlarm!;
  alarm.previousAlarm = last;
  alarm.nextAlarm = slot;
  last.nextAlarm = slot.previousAlarm = alarm;
}

function unlink({ nextAlarm, previousAlarm }: Alarm): void {
  previousAlarm!.nextAlarm = nextAlarm;
  nextAlarm!.previousAlarm = previousAlarm;
}

function move(alarm: Alarm, slot: Alarm): void {
  unlink(alarm);
  link(alarm, slot);
}

/** The head of a slot: the list closes in it. */
class Slot implements Alarm {
  nextAlarm: Alarm | undefined = this;
  previousAlarm: Alarm | undefined = this;
  dueTick = 0;

  ring(): void {}
}

/** Of whoever has no object of its own to ring. */
class Callback implements Alarm {
  nextAlarm: Alarm | undefined = undefined;
  previousAlarm: Alarm | undefined = undefined;
  dueTick = 0;
  readonly ring: () => void;

  constructor(fn: () => void) {
    this.ring = fn;
  }
}
