import type { Clock, Timer } from "@trama/engine";

import type { Backoff } from "./backoff.ts";
import type { OpenSession, Session, SessionOptions } from "./session.ts";
import type { StreamStatus } from "./transport.ts";

export interface AdsOptions extends Omit<SessionOptions, "onOpened" | "onAnswered" | "onEnd"> {
  readonly open: OpenSession;
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** The connection of a stream stands; whether the server takes us is not known yet. */
  readonly onOpened?: (() => void) | undefined;
  /** A stream works: it has answered, or nobody ended it for a while, for there may be nothing new to say. */
  readonly onConnected: () => void;
  /** The first response of a stream is there, and not yet applied. */
  readonly onAnswered?: (() => void) | undefined;
  /**
   * A stream ended. `worked`: so this is rotation or a restart of the server, not a fault (R17). The next one follows after
   * the back-off; all that is held stays in service (R18).
   */
  readonly onDisconnected: (status: StreamStatus, worked: boolean, retryInMs: number) => void;
}

/** A server that refuses does so at once; one that has nothing new for us says nothing at all (R22). */
const silenceMeansYesMs = 5_000;

/**
 * Keeps one ADS stream standing: idle → connecting → open → working → (ended → waiting → connecting …) → closed. There is
 * never more than one session; what a former one still says is not heard (R2).
 */
export class Ads {
  readonly #options: AdsOptions;
  #session: Session | undefined;
  /** Of the back-off, or of the silence after opening; there is never both. */
  #timer: Timer | undefined;
  #state: "idle" | "running" | "closed" = "idle";
  #connected = false;

  constructor(options: AdsOptions) {
    this.#options = options;
  }

  /** True from the opening of the present stream to its end. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Idempotent. */
  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "running";
    this.#connect();
  }

  /** What is wanted may have changed. Without a stream there is nothing to do: the next one says it all. */
  sync(): void {
    this.#session?.sync();
  }

  close(): void {
    this.#state = "closed";
    this.#connected = false;
    this.#timer?.cancel();
    this.#session?.close();
    this.#session = undefined;
  }

  #connect(): void {
    let worked = false;
    const works = (): void => {
      if (worked || this.#session !== session) return;
      worked = true;
      this.#timer?.cancel();
      this.#connected = true;
      this.#options.backoff.reset();
      this.#options.onConnected();
    };
    const session = this.#options.open({
      ...this.#options,
      onOpened: () => {
        if (worked || this.#session !== session) return;
        this.#connected = true;
        this.#timer = this.#options.clock.after(silenceMeansYesMs, works);
        this.#options.onOpened?.();
      },
      onAnswered: () => {
        works();
        if (this.#session === session) this.#options.onAnswered?.();
      },
      onEnd: (status) => {
        if (this.#session !== session) return;
        this.#session = undefined;
        this.#connected = false;
        this.#timer?.cancel();
        const delay = this.#options.backoff.next();
        this.#timer = this.#options.clock.after(delay, () => this.#connect());
        this.#options.onDisconnected(status, worked, delay);
      },
    });
    this.#session = session;
  }
}
