import type { ServerHttp2Session } from "node:http2";
import type { Clock, Timer } from "@trama/engine";

import type { Connection } from "./connection.ts";

/** A connection whose peer was told to leave stays open this long after its last stream: what was under way meets no closed socket. */
const lingerMs = 1_000;

/**
 * How an HTTP/2 connection of a server ends: GOAWAY, the streams under way, a moment, the end. The GOAWAY names the last stream that was seen:
 * whoever sent a later one knows that nobody looked at it, and may send it elsewhere (RFC 9113 §6.8). A notice before it, which would refuse nothing
 * yet, cannot be had: nghttp2 takes no new stream after any GOAWAY but its shutdown notice, and Node has no function for that.
 */
export class SessionEnd {
  readonly #session: ServerHttp2Session;
  readonly #connection: Connection;
  readonly #clock: Clock;
  #leaving = false;
  #timer: Timer | undefined = undefined;

  /** From here on the connection ends in HTTP/2's way, whoever ends it. */
  constructor(session: ServerHttp2Session, connection: Connection, clock: Clock) {
    this.#session = session;
    this.#connection = connection;
    this.#clock = clock;
    connection.leave = () => this.#leave();
    connection.idle = () => this.#idle();
    connection.current = { announceClose: () => this.#goAway() };
    session.on("error", () => {});
    session.on("close", () => this.#timer?.cancel());
  }

  #goAway(): void {
    if (this.#leaving || this.#session.destroyed) return;
    this.#leaving = true;
    this.#session.goaway();
    this.#idle();
  }

  #leave(): void {
    this.#goAway();
    this.#idle();
  }

  #idle(): void {
    if (!this.#leaving || this.#connection.inFlight > 0 || this.#session.destroyed) return;
    this.#timer ??= this.#clock.after(lingerMs, () => this.#session.close());
  }
}
