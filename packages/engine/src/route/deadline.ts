import type { Alarm } from "../alarm.ts";
import type { Call } from "../call.ts";
import type { Clock, Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { ownDelay } from "../own-delay.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";

/** The longest delay that timers of every kind can hold; a call that may take longer has no timer. */
const LONGEST_MS = 0x7fff_ffff;

/** What a hop keeps of a deadline that it hands on: for the way back of the answer, and for a timer that is a tick late. */
const MARGIN_MS = 10;
/** Of what is left, at most: a deadline that is near must not be used up by margins. */
const MARGIN_SHARE = 0.1;

/**
 * The deadline of a call that is made on behalf of another, which must be done by `deadlineMs`: a little earlier, so that
 * what the nested call ends in, its time-out included, still reaches whoever waits for the outer one (dataplane.md §5).
 * 10 ms earlier, or a tenth of what is left where that is less.
 */
export function handDown(deadlineMs: number, nowMs: number): number {
  if (deadlineMs === Infinity) return Infinity;
  return deadlineMs - Math.min(MARGIN_MS, MARGIN_SHARE * Math.max(0, deadlineMs - nowMs));
}

/**
 * The end of the whole call, retries and the reading of the answer included. It brings `call.deadlineMs` nearer, never
 * farther, and keeps it by a timer: also where only the application set one. A call without any deadline passes
 * untouched. It stands below the filters, as the route's time-out does not cover an injected delay, and above the
 * attempts, which it covers all.
 */
export function deadlineLayer(timeoutMs: number | undefined, { clock }: Pick<Env, "clock">): Layer {
  return (inner) => (call, sink) => {
    if (timeoutMs === undefined && call.deadlineMs === Infinity) return inner(call, sink);
    const now = clock.now();
    if (timeoutMs !== undefined) call.deadlineMs = Math.min(call.deadlineMs, now + timeoutMs);
    const leftMs = call.deadlineMs - now;
    if (leftMs <= 0)
      return sink.onError(new MeshError("TIMEOUT", "the deadline of the call had passed before it was sent"));
    if (leftMs > LONGEST_MS) return inner(call, sink);
    inner(call, new Timed(call, sink, clock, now));
  };
}

/** Rings when the time is over, unless the answer has ended. */
class Timed implements Sink, Alarm {
  nextAlarm: Alarm | undefined = undefined;
  previousAlarm: Alarm | undefined = undefined;
  dueTick = 0;
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #clock: Clock;
  /** Whole milliseconds, for a number with a fraction is an object of its own. */
  readonly #limitMs: number;
  readonly #stalledMs: number;
  #ended = false;

  constructor(call: Call, sink: Sink, clock: Clock, nowMs: number) {
    this.#call = call;
    this.#sink = sink;
    this.#clock = clock;
    this.#limitMs = Math.round(call.deadlineMs - nowMs);
    // Up, so that what is rounded off is never taken for a block.
    this.#stalledMs = Math.ceil(clock.stalled(nowMs));
    clock.set(this, call.deadlineMs);
  }

  /** Tells whoever is at work. One that does not answer at once is not waited for: a deadline is a promise to the caller. */
  ring(): void {
    if (this.#ended) return;
    const { record, deadlineMs } = this.#call;
    const limitMs = this.#limitMs;
    const own = ownDelay(this.#clock, deadlineMs - limitMs, this.#stalledMs, limitMs);
    const error = outOfTime(limitMs, record.attempts > 0, own);
    this.#call.abort(error);
    this.onError(this.#call.aborted ?? error);
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#ended) return;
    // A switched connection lives as long as its ends like: Envoy's route time-out ends with the answer to the upgrade.
    if (head.status === 101) this.#clock.unset(this);
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    if (!this.#ended) this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#end()) this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    if (this.#end()) this.#sink.onError(error);
  }

  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#clock.unset(this);
    return true;
  }
}

/** The whole call took too long. */
export function outOfTime(limitMs: number, sent: boolean, own: boolean): MeshError {
  const why = own ? "; our own event loop was blocked meanwhile" : "";
  return new MeshError("TIMEOUT", `the call took longer than its ${Math.round(limitMs)} ms${why}`, {
    sent,
    ownDelay: own,
  });
}
