import { type ClientHttp2Session, connect as connectH2, constants, type SecureClientSessionOptions } from "node:http2";
import type { Timer } from "@trama/engine";
import { MeshError } from "@trama/engine";

import { connect, type ConnectedPeer, plaintextPeer } from "./connect.ts";
import type { PoolOptions } from "./endpoint-pools.ts";
import { ageOf } from "./pool.ts";
import type { KeepAlive } from "./stream-body.ts";

/** No stream begins on a connection whose peer's certificate ends within this. */
const expiryMarginMs = 500;
/** Streams at once, whatever more the server would take: past it another connection shares the load. Envoy: `max_concurrent_streams`. */
const maxStreams = 1_000;
/** Without a stream for so long it is closed, where the configuration does not say otherwise. */
const idleMs = 300_000;
/** Bytes on their way on one connection, all streams together. What a stream holds back counts for that stream only. */
const connectionWindow = 4 * 1024 * 1024;

/** What a server says that wants fewer of them (gRFC A8). */
const tooManyPings = "too_many_pings";

const sessionOptions: SecureClientSessionOptions = {
  settings: { enablePush: false, initialWindowSize: 256 * 1024, maxHeaderListSize: 61_440 },
  // Streams and what each may hold are bounded by ourselves; past Node's 10 MB, twenty-five large answers would reset each other.
  maxSessionMemory: Number.MAX_SAFE_INTEGER,
};

/** Whom a connection belongs to, and who is told what becomes of it. */
export interface ConnectionOwner {
  readonly options: PoolOptions;
  /** How many times as long as they are told to connections wait before a ping. */
  readonly pingFactor: number;
  /** The server took our pings for too many (gRFC A8). */
  calmDown(): void;
  /** A stream has ended, so another may begin. */
  freed(): void;
  /** It takes no new streams any more. */
  left(connection: H2Connection): void;
  closed(connection: H2Connection): void;
}

/**
 * One HTTP/2 connection to an endpoint: connecting, then open, then leaving (no new streams, those under way end) and lost. It keeps the
 * process alive only while a stream is open.
 */
export class H2Connection {
  readonly pool: ConnectionOwner;
  peer: ConnectedPeer = plaintextPeer;
  streams = 0;
  #gone = false;
  lostBecause: Error | undefined = undefined;
  #session: ClientHttp2Session | undefined = undefined;
  #leaving = false;
  /** Wall-clock milliseconds; from then on it takes no new stream. */
  #retireAtMs = Infinity;
  #keepAlive: KeepAlive | undefined = undefined;
  #pinging: Timer | undefined = undefined;
  #idle: Timer | undefined = undefined;
  /** Streams that may still begin. */
  #left: number;

  constructor(pool: ConnectionOwner) {
    this.pool = pool;
    this.#left = pool.options.connections?.maxRequests ?? Infinity;
  }

  /** `done` is called once: with an error when there is no connection, without when it takes streams. */
  open(done: (error: MeshError | undefined) => void): void {
    const { options } = this.pool;
    const { clock, random } = options;
    connect({ ...options, protocol: "h2" }, (error, socket, peer) => {
      if (error !== null) {
        this.#gone = true;
        return done(error);
      }
      // Otherwise it would take no stream, and the next one would be made at once, over and over.
      if (clock.wall() >= peer.notAfterMs - expiryMarginMs) {
        this.#gone = true;
        socket!.destroy();
        const ended = new Date(peer.notAfterMs).toISOString();
        const text = `${options.endpoint.address}: by our clock the server's certificate ends, or has ended, at ${ended}`;
        return done(new MeshError("TLS_FAILED", text));
      }
      this.peer = peer;
      this.#retireAtMs = Math.min(peer.notAfterMs - expiryMarginMs, clock.wall() + ageOf(options.connections, random));
      const session = connectH2("http://endpoint.invalid", { ...sessionOptions, createConnection: () => socket! });
      this.#session = session;
      // Node closes the streams first and the session after them, as if the peer had cancelled each.
      socket!.prependListener("close", () => (this.#gone = true));
      session.on("error", (cause: Error) => (this.lostBecause ??= cause));
      session.on("goaway", (code: number, _last: number, why?: Uint8Array) => {
        if (code === constants.NGHTTP2_ENHANCE_YOUR_CALM && String(why) === tooManyPings) this.pool.calmDown();
        this.leave();
      });
      session.on("close", () => this.#onClose());
      session.setTimeout(0);
      session.once("connect", () => {
        if (!session.destroyed) session.setLocalWindowSize(connectionWindow); // it throws on one that was given up meanwhile
      });
      const pings = options.connections?.keepAlive;
      if (pings !== undefined)
        this.#pingLater(
          (this.#keepAlive = { timeMs: pings.intervalMs, timeoutMs: pings.timeoutMs, withoutCalls: true }),
        );
      if (this.#leaving) this.#closeIfIdle();
      else session.unref();
      done(undefined);
    });
  }

  /** The session, when it may take one more stream now. */
  get free(): ClientHttp2Session | undefined {
    const session = this.#session;
    if (session === undefined || this.#leaving || session.closed || session.destroyed) return undefined;
    if (this.pool.options.clock.wall() >= this.#retireAtMs) {
      this.leave();
      return undefined;
    }
    const own = this.pool.options.connections?.maxStreams ?? maxStreams;
    const limit = Math.min(own, session.remoteSettings?.maxConcurrentStreams ?? own);
    return this.streams < limit ? session : undefined;
  }

  /** Whether the connection itself has failed, and not just a stream of it. */
  get lost(): boolean {
    return this.#gone || this.#session?.destroyed === true;
  }

  get connecting(): boolean {
    return this.#session === undefined && !this.#gone;
  }

  /** A stream begins: the process stays for it, and its caller's wish for pings is heard. */
  used(keepAlive: KeepAlive | undefined): void {
    this.#idle?.cancel();
    this.#idle = undefined;
    if (this.streams === 1) this.#session!.ref();
    if (--this.#left <= 0) this.leave();
    if (keepAlive !== undefined && (this.#keepAlive === undefined || keepAlive.timeMs < this.#keepAlive.timeMs))
      this.#keepAlive = keepAlive;
    if (this.#keepAlive !== undefined && this.#pinging === undefined) this.#pingLater(this.#keepAlive);
  }

  /** A stream has ended. */
  ended(): void {
    this.streams--;
    if (this.streams === 0 && this.#session?.destroyed === false) {
      this.#session.unref();
      if (this.#leaving) this.#closeIfIdle();
      else this.#leaveWhenIdle();
    }
    this.pool.freed();
  }

  #leaveWhenIdle(): void {
    const { clock, connections } = this.pool.options;
    const afterMs = connections?.idleTimeoutMs ?? idleMs;
    this.#idle?.cancel();
    if (afterMs > 0) this.#idle = clock.after(afterMs, () => this.leave());
  }

  /** Takes no new stream; ends with the last one under way. */
  leave(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.pool.left(this);
    this.#closeIfIdle();
  }

  /** Not while there are streams: a GOAWAY of ours would overtake the head of one that has just begun. */
  #closeIfIdle(): void {
    const session = this.#session;
    if (session !== undefined && this.streams === 0 && !session.closed) session.close();
  }

  destroy(error: MeshError): void {
    this.lostBecause ??= error;
    this.#gone = true;
    this.leave();
    this.#session?.destroy();
  }

  #onClose(): void {
    this.#gone = true;
    this.#pinging?.cancel();
    this.#pinging = undefined;
    this.#idle?.cancel();
    this.#idle = undefined;
    this.leave();
    this.pool.closed(this);
  }

  #pingLater(keepAlive: KeepAlive): void {
    const { clock } = this.pool.options;
    this.#pinging = clock.after(keepAlive.timeMs * this.pool.pingFactor, () => {
      this.#pinging = undefined;
      const session = this.#session!;
      if (session.destroyed || (this.streams === 0 && !keepAlive.withoutCalls)) return;
      this.#pinging = clock.after(keepAlive.timeoutMs, () => {
        this.destroy(
          new MeshError(
            "RESET",
            `${this.pool.options.endpoint.address}: no answer to a ping within ${keepAlive.timeoutMs} ms`,
            { sent: true },
          ),
        );
      });
      session.ping(() => {
        this.#pinging?.cancel();
        this.#pinging = undefined;
        if (!session.destroyed) this.#pingLater(this.#keepAlive!);
      });
    });
  }
}
