import type { Clock, Timer } from "@trama/engine";

import type { Backoff } from "./backoff.ts";
import type { OpenSession, Session, SessionOptions } from "./session.ts";
import type { StreamStatus } from "./transport.ts";

export interface AdsOptions extends Omit<SessionOptions, "onAnswered" | "onEnd"> {
  readonly open: OpenSession;
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** A stream has answered for the first time. */
  readonly onConnected: () => void;
  /**
   * A stream ended. `answered`: it had worked, so this is rotation or a restart of the server, not a fault (R17). The next
   * one follows after the back-off; all that is held stays in service (R18).
   */
  readonly onDisconnected: (status: StreamStatus, answered: boolean, retryInMs: number) => void;
}

/**
 * Keeps one ADS stream standing: idle → connecting → answered → (ended → waiting → connecting …) → closed. There is
 * never more than one session; what a former one still says is not heard (R2).
 */
export class Ads {
  readonly #options: AdsOptions;
  #session: Session | undefined;
  #waiting: Timer | undefined;
  #state: "idle" | "running" | "closed" = "idle";
  #connected = false;

  constructor(options: AdsOptions) {
    this.#options = options;
  }

  /** True from the first answer of the present stream to its end. */
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
    this.#waiting?.cancel();
    this.#waiting = undefined;
    this.#session?.close();
    this.#session = undefined;
  }

  #connect(): void {
    this.#waiting = undefined;
    let answered = false;
    const session = this.#options.open({
      ...this.#options,
      onAnswered: () => {
        answered = true;
        this.#connected = true;
        this.#options.backoff.reset();
        this.#options.onConnected();
      },
      onEnd: (status) => {
        if (this.#session !== session) return;
        this.#session = undefined;
        this.#connected = false;
        const delay = this.#options.backoff.next();
        this.#waiting = this.#options.clock.after(delay, () => this.#connect());
        this.#options.onDisconnected(status, answered, delay);
      },
    });
    this.#session = session;
  }
}
