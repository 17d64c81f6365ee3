import type { Clock, Timer } from "@trama/engine";

/**
 * Timers that run only while a stream stands: one that is set earlier starts when the stream opens, and all end with it (R10).
 */
export class StreamTimers {
  readonly #clock: Clock;
  readonly #running = new Set<Timer>();
  #early: (() => void)[] | undefined = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  after(delayMs: number, fn: () => void): void {
    const start = (): void => {
      const timer = this.#clock.after(delayMs, () => {
        this.#running.delete(timer);
        fn();
      });
      this.#running.add(timer);
    };
    if (this.#early === undefined) start();
    else this.#early.push(start);
  }

  /** The stream stands. */
  opened(): void {
    const early = this.#early;
    this.#early = undefined;
    for (const start of early ?? []) start();
  }

  /** The stream has ended. */
  close(): void {
    this.#early = [];
    for (const timer of this.#running) timer.cancel();
    this.#running.clear();
  }
}
