import type { Alarm } from "./alarm.ts";
import type { RequestBody } from "./call.ts";
import type { Clock } from "./env.ts";
import { owedMs } from "./own-delay.ts";

/** Whoever is told that nothing has moved. The watch is over then, unless it is set {@link IdleWatch.again}. */
export interface Watched {
  fallSilent(): void;
}

/**
 * Rings when a stream was silent for `limitMs`: no event of the answer, of which it is told, and no piece of the request, after which it
 * asks when the time is over. So a piece of a request costs nothing, and puts the end off to twice the limit at most. Time for which
 * this process's own event loop was blocked does not count: what came meanwhile lies unread.
 */
export class IdleWatch implements Alarm {
  nextAlarm: Alarm | undefined = undefined;
  previousAlarm: Alarm | undefined = undefined;
  dueTick = 0;
  readonly #body: RequestBody;
  readonly #limitMs: number;
  readonly #clock: Clock;
  readonly #owner: Watched;
  /** Of the last event, with `clock.stalled()` then. */
  #lastMs = 0;
  #stalledMs = 0;
  #moved: number;

  constructor(body: RequestBody, limitMs: number, clock: Clock, owner: Watched) {
    this.#body = body;
    this.#limitMs = limitMs;
    this.#clock = clock;
    this.#owner = owner;
    this.#moved = body.moved?.() ?? 0;
    this.again();
  }

  /** Something moved. Of many events only the last matters, so the alarm stays where it is and looks for it when it rings. */
  touch(): void {
    this.#lastMs = this.#clock.now();
    this.#stalledMs = Math.ceil(this.#clock.stalled(this.#lastMs));
  }

  /** Grants the whole time once more. */
  again(): void {
    this.touch();
    this.#clock.set(this, this.#lastMs + this.#limitMs);
  }

  /** Idempotent. */
  stop(): void {
    this.#clock.unset(this);
  }

  ring(): void {
    const moved = this.#body.moved?.() ?? 0;
    if (moved !== this.#moved) {
      this.#moved = moved;
      return this.again();
    }
    const nowMs = this.#clock.now();
    const leftMs = this.#lastMs + this.#limitMs - nowMs;
    const moreMs = leftMs > 0 ? leftMs : owedMs(this.#clock, this.#lastMs, this.#stalledMs, this.#limitMs);
    if (moreMs > 0) this.#clock.set(this, nowMs + moreMs);
    else this.#owner.fallSilent();
  }
}
