import type { Socket } from "node:net";
import type { Clock, Timer } from "@trama/engine";

/** First byte of a TLS record that carries a handshake (RFC 8446 §5.1). No HTTP method begins with it. */
const handshakeRecord = 0x16;

/** An accepted socket that is not a connection yet: it has not spoken, or has to wait, or is in its handshake. */
export interface PendingSocket {
  readonly raw: Socket;
  /** `undefined` before the first byte. */
  tls: boolean | undefined;
  /** It may take no longer than the limit, whatever it waits for. */
  readonly timer: Timer;
}

/**
 * Holds accepted sockets until the first byte says what they speak. A peer that sends nothing, or one byte and nothing more, holds a
 * descriptor, so their number and their time are bounded (dataplane.md §20).
 */
export class Sniffer {
  readonly #pending = new Map<Socket, PendingSocket>();
  readonly #clock: Clock;
  readonly #max: number;
  readonly #timeoutMs: number;
  readonly #silentMs: number | undefined;
  readonly #onFirstByte: (pending: PendingSocket) => void;
  /** Sockets turned away because too many were pending, or because they took too long. */
  refused = 0;

  constructor(
    options: {
      readonly clock: Clock;
      readonly max: number;
      readonly timeoutMs: number;
      /** Who says nothing for so long speaks plaintext, and waits for the server to begin. Absent: somebody who speaks first. */
      readonly silentMs?: number | undefined;
    },
    onFirstByte: (pending: PendingSocket) => void,
  ) {
    this.#clock = options.clock;
    this.#max = options.max;
    this.#timeoutMs = options.timeoutMs;
    this.#silentMs = options.silentMs;
    this.#onFirstByte = onFirstByte;
  }

  /** `known`: what it speaks is settled before it says a word. */
  take(raw: Socket, known?: "plaintext"): void {
    if (this.#pending.size >= this.#max) {
      this.refused++;
      raw.destroy();
      return;
    }
    const timer = this.#clock.after(this.#timeoutMs, () => {
      this.refused++;
      raw.destroy();
    });
    const pending: PendingSocket = { raw, tls: undefined, timer };
    this.#pending.set(raw, pending);
    raw.on("close", () => this.done(raw));
    raw.on("error", ignore);
    const settle = (tls: boolean): void => {
      raw.removeListener("readable", look);
      raw.removeListener("end", leave);
      silence?.cancel();
      pending.tls = tls;
      this.#onFirstByte(pending);
    };
    const look = (): void => {
      const first = raw.read(1) as Buffer | null;
      if (first === null) return;
      raw.unshift(first);
      settle(first[0] === handshakeRecord);
    };
    // An HTTP server keeps its half open; whoever leaves without a word is owed nothing.
    const leave = (): void => void raw.destroy();
    const silent = (): void => {
      if (pending.tls === undefined && this.#pending.has(raw)) settle(false);
    };
    const silence =
      this.#silentMs === undefined || known !== undefined ? undefined : this.#clock.after(this.#silentMs, silent);
    if (known !== undefined) return settle(false);
    raw.on("readable", look);
    raw.on("end", leave);
  }

  /** It became a connection, or is gone. */
  done(raw: Socket): void {
    const pending = this.#pending.get(raw);
    if (pending === undefined) return;
    this.#pending.delete(raw);
    pending.timer.cancel();
    raw.removeListener("error", ignore);
    if (raw.destroyed) raw.on("error", ignore);
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Those that have spoken and wait. A copy: handling them changes the list. */
  spoken(): PendingSocket[] {
    return [...this.#pending.values()].filter(({ tls }) => tls !== undefined);
  }

  destroy(): void {
    for (const raw of this.#pending.keys()) raw.destroy();
  }
}

function ignore(): void {}
