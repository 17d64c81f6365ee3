import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock, Timer } from "@trama/engine";

/** Width of a tick: a deadline is kept to within one of these. */
const tickMs = 10;
/** Ticks around the wheel; what is further away waits in its slot for more turns. */
const slots = 512;
/** A tick that comes later than this was held up by something that blocked the event loop; less is the work of a busy process. */
const stallMs = 50;

/**
 * Real time, with one Node timer for all deadlines. A call arms and cancels up to two timers; `setTimeout` would cost
 * half a microsecond and a list entry for each, the wheel a slot in a doubly linked list (Varghese and Lauck's hashed
 * wheel). The Node timer runs only while something waits and never keeps the process alive.
 */
export function createClock(): Clock & { close(): void } {
  const wheel: WheelTimer[] = Array.from({ length: slots }, () => new WheelTimer(undefined, undefined));
  let waiting = 0;
  let ticker: NodeJS.Timeout | undefined;
  let tick = 0;
  /** When the ticker last had its turn. */
  let turnedMs = 0;
  let stalled = 0;
  let afterInput: NodeJS.Immediate | undefined;
  // Timers belong to nobody: the request that happened to start the ticker must not be the context of all that follows.
  const outside = AsyncLocalStorage.snapshot();

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
      for (let each = head.next!; each !== head;) {
        const next = each.next!;
        if (each.tick <= tick) each.fire();
        // Whatever `fire` cancelled may have been `next`: a cancelled timer still knows the way on only if it is linked.
        each = next.next === undefined && next !== head ? head.next! : next;
      }
    }
    if (waiting === 0 && ticker !== undefined) {
      clearInterval(ticker);
      ticker = undefined;
    }
  };

  const unlinked = (): void => {
    waiting--;
  };

  const arm = (atMs: number, fn: (value: unknown) => void, value: unknown): Timer => {
    const timer = new WheelTimer(fn, value);
    if (ticker === undefined) {
      turnedMs = now();
      tick = Math.floor(turnedMs / tickMs);
      ticker = outside(setInterval, turn, tickMs);
      ticker.unref();
    }
    // Never early: the tick in which the moment has wholly passed.
    timer.tick = Math.max(Math.ceil(Math.min(atMs, 2 ** 40) / tickMs), tick + 1);
    timer.unlinked = unlinked;
    timer.link(wheel[timer.tick % slots]!);
    waiting++;
    return timer;
  };

  return {
    now,
    wall: () => Date.now(),
    after: (delayMs, fn) => arm(now() + delayMs, fn, undefined),
    at: arm as Clock["at"],
    stalled: (nowMs) => stalled + lag(nowMs),
    close() {
      clearInterval(ticker);
      clearImmediate(afterInput);
      ticker = undefined;
    },
  };
}

class WheelTimer implements Timer {
  tick = 0;
  next: WheelTimer | undefined;
  previous: WheelTimer | undefined;
  unlinked: (() => void) | undefined = undefined;
  #fn: ((value: unknown) => void) | undefined;
  #value: unknown;

  /** Without a function: the head of a slot. */
  constructor(fn: ((value: unknown) => void) | undefined, value: unknown) {
    this.#fn = fn;
    this.#value = value;
    this.next = fn === undefined ? this : undefined;
    this.previous = this.next;
  }

  link(head: WheelTimer): void {
    this.previous = head.previous;
    this.next = head;
    head.previous!.next = this;
    head.previous = this;
  }

  cancel(): void {
    if (this.next === undefined) return;
    this.previous!.next = this.next;
    this.next.previous = this.previous;
    this.next = this.previous = undefined;
    this.#fn = this.#value = undefined;
    this.unlinked!();
  }

  fire(): void {
    const fn = this.#fn!;
    const value = this.#value;
    this.cancel();
    fn(value);
  }
}
