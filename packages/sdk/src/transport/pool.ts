import { type ConnectionConfig, MeshError } from "@trama/engine";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Client as UndiciClient } from "undici";

import { Client } from "../undici-parts.ts";
import type { ClusterLimit } from "./cluster-limits.ts";
import { connect, type ConnectedPeer, plaintextPeer } from "./connect.ts";
import type { EndpointPool, PoolOptions } from "./endpoint-pools.ts";

/**
 * Where the configuration says nothing of it: shorter than any sensible server's, so that it is we who let go of an idle connection
 * (dataplane.md §22).
 */
const keepAliveMs = 4_000;
/** No request begins on a connection whose peer's certificate ends within this. */
const expiryMarginMs = 500;

/** As good as never, and still a timer that Node can hold. */
const neverMs = 86_400_000;
/** Where the configuration says nothing. */
const maxAgeMs = 3_600_000;

/**
 * How long a connection takes requests: less up to a fifth at random, so that not all of them end at once, and load finds new endpoints.
 * Envoy: `max_connection_duration`.
 */
export function ageOf(connections: ConnectionConfig | undefined, random: () => number): number {
  return (connections?.maxDurationMs ?? maxAgeMs) * (1 - random() / 5);
}

/**
 * Handshakes at once with one endpoint. What comes when all are under way waits for one of them or for a free connection: after a stall a
 * hundred requests are served by a few connections, where a hundred handshakes would be the next stall (dataplane.md §15).
 */
const maxConnecting = 8;
/** Answers that take longer than this do not keep others waiting. */
const formMs = 10;

/** A request as the pool sees it: something that takes a connection. */
export interface Pooled {
  /** False when it was aborted meanwhile. Otherwise it is on its way, and gives the connection back when it has ended. */
  begin(connection: Connection): boolean;
  fail(error: MeshError): void;
}

/** One connection, or the place for one: undici's client connects anew by itself when the peer has closed. */
export interface Connection {
  readonly client: UndiciClient;
  peer: ConnectedPeer;
  /** Wall-clock milliseconds; from then on it takes no new request. */
  retireAtMs: number;
  /** Requests that have begun on it; Envoy's `max_requests_per_connection` bounds them. */
  requests: number;
  /** Its newest; another one follows where undici connects anew. */
  socket: Socket | undefined;
  /** Whether the other end has been told who we are, which holds for as long as the socket. */
  introduced: boolean;
  /** The request that was begun last tells it. */
  introducing: boolean;
  /** Its socket, once it speaks another protocol: undici knows nothing of it any more. */
  switched: Duplex | undefined;
  /** The one that was idle before it, while it is idle itself. */
  nextIdle: Connection | undefined;
}

/**
 * The connections to one endpoint under one TLS setting and one identity. A pool of our own over undici's `Client`, because what
 * a mesh needs cannot be had from undici's `Pool`: an end of life per connection (its peer's certificate, its age), a
 * bound on what waits, and the connection's verified peer for each request.
 */
export class Pool implements EndpointPool {
  readonly options: PoolOptions;
  /**
   * Last in, first out: the others may grow idle and close. A chain, because an array that is emptied and filled again
   * with each request makes garbage each time.
   */
  #idle: Connection | undefined = undefined;
  #idleCount = 0;
  readonly #all = new Set<Connection>();
  readonly #waiting: Pooled[] = [];
  /** Handshakes under way. */
  #connecting = 0;
  /** Wait for one of them, or for whatever connection is free before. */
  readonly #forming: Pooled[] = [];
  #formsLater = false;
  /** Since somebody asked; a flag, because reading the clock for each request would cost more. */
  #used = true;
  #lastUsedMs = 0;
  #closed = false;
  #closing = 0;
  #empty: PromiseWithResolvers<void> | undefined;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /** Connections in use. */
  get busy(): number {
    return this.#all.size - this.#idleCount;
  }

  /** For whoever sweeps unused pools and asks now and then: monotonic time of the question before which it was last in use. */
  usedBy(nowMs: number): number {
    if (this.#used || this.busy > 0) this.#lastUsedMs = nowMs;
    this.#used = false;
    this.#dropRetired();
    return this.#lastUsedMs;
  }

  /** Idle ones whose time has come are looked at when they are wanted; those that nobody wants, here. */
  #dropRetired(): void {
    const wallMs = this.options.clock.wall();
    const kept: Connection[] = [];
    for (let idle = this.#popIdle(); idle !== undefined; idle = this.#popIdle())
      if (wallMs < idle.retireAtMs) kept.push(idle);
      else this.#drop(idle);
    for (const connection of kept.toReversed()) this.#pushIdle(connection);
  }

  submit(request: Pooled): void {
    const { clock, limit } = this.options;
    this.#used = true;
    let connection: Connection | undefined;
    while ((connection = this.#popIdle()) !== undefined) {
      if (connection.socket?.destroyed === false && clock.wall() < connection.retireAtMs) break;
      this.#drop(connection);
    }
    if (connection === undefined) {
      if (limit?.admits(this, this.#all.size) === false) return this.#wait(request, limit);
      if (this.#connecting >= maxConnecting) {
        this.#forming.push(request);
        return;
      }
      connection = this.#open();
    }
    if (!request.begin(connection)) this.release(connection);
  }

  /** A connection stands, and may soon be free again: only for those who wait still after a moment more are begun. */
  #formLater(): void {
    if (this.#forming.length === 0 || this.#formsLater) return;
    this.#formsLater = true;
    this.options.clock.after(formMs, () => {
      this.#formsLater = false;
      this.#formMore();
    });
  }

  #formMore(): void {
    const { limit } = this.options;
    while (this.#forming.length > 0 && this.#connecting < maxConnecting) {
      if (limit?.admits(this, this.#all.size) === false) return;
      const connection = this.#open();
      if (!this.#forming.shift()!.begin(connection)) this.release(connection);
    }
  }

  /** As in Envoy, who waits for connections of an endpoint that takes none is told so, and can go elsewhere. */
  #giveUp(error: MeshError): void {
    for (const request of this.#forming.splice(0)) request.fail(error);
  }

  /** The request that had this connection has ended. `unmade`: it could not be connected, and undici's client is in the midst of saying so. */
  release(connection: Connection, unmade = false): void {
    if (!this.#all.has(connection)) return;
    let usable = connection;
    const { maxRequests } = this.options.connections ?? {};
    const spent = unmade || (maxRequests !== undefined && connection.requests >= maxRequests);
    const wanted = this.#waiting.length + this.#forming.length > 0;
    if (spent && !wanted) return this.#drop(connection);
    // One that becomes idle is looked at when it is wanted again.
    if (spent || (wanted && this.options.clock.wall() >= connection.retireAtMs)) {
      this.#drop(connection);
      usable = this.#open();
    }
    // Whoever is next in line begins before undici cuts a connection that has given its last answer, and may be the first on a new one.
    if (wanted) usable.introduced = false;
    for (let request = this.#next(); request !== undefined; request = this.#next()) if (request.begin(usable)) return;
    for (let request = this.#forming.shift(); request !== undefined; request = this.#forming.shift())
      if (request.begin(usable)) return;
    if (this.#closed) this.#drop(usable);
    else this.#pushIdle(usable);
  }

  /** Only where there is a limit. */
  #wait(request: Pooled, limit: ClusterLimit): void {
    if (limit.pending < limit.maxPending) {
      limit.pending++;
      this.#waiting.push(request);
      return;
    }
    const text = `${this.options.endpoint.address}: the cluster has its ${limit.maxConnections} connections, and ${limit.maxPending} requests wait`;
    request.fail(new MeshError("OVERFLOW", text));
  }

  #next(): Pooled | undefined {
    const request = this.#waiting.shift();
    if (request !== undefined) this.options.limit!.pending--;
    return request;
  }

  dropIdle(): boolean {
    const connection = this.#popIdle();
    if (connection === undefined) return false;
    this.#drop(connection);
    return true;
  }

  #pushIdle(connection: Connection): void {
    connection.nextIdle = this.#idle;
    this.#idle = connection;
    this.#idleCount++;
  }

  #popIdle(): Connection | undefined {
    const connection = this.#idle;
    if (connection === undefined) return undefined;
    this.#idle = connection.nextIdle;
    connection.nextIdle = undefined;
    this.#idleCount--;
    return connection;
  }

  /** A request that was aborted while it waited. */
  forget(request: Pooled): void {
    const forming = this.#forming.indexOf(request);
    if (forming >= 0) this.#forming.splice(forming, 1);
    const at = this.#waiting.indexOf(request);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    this.options.limit!.pending--;
  }

  /** Lets what is under way or waits end, then opens nothing more. Resolves when the last connection is closed. */
  close(): Promise<void> {
    this.#closed = true;
    for (let idle = this.#popIdle(); idle !== undefined; idle = this.#popIdle()) this.#drop(idle);
    if (this.#all.size + this.#closing === 0) return Promise.resolve();
    return (this.#empty ??= Promise.withResolvers<void>()).promise;
  }

  /** Cuts everything. */
  destroy(error: MeshError): void {
    this.#closed = true;
    for (let request = this.#next(); request !== undefined; request = this.#next()) request.fail(error);
    this.#giveUp(error);
    this.#idle = undefined;
    this.#idleCount = 0;
    const connections = [...this.#all];
    if (this.options.limit !== undefined) this.options.limit.connections -= connections.length;
    this.#all.clear();
    for (const { client, switched } of connections) {
      switched?.destroy();
      client.destroy(error).catch(() => {});
    }
    this.#empty?.resolve();
  }

  #open(): Connection {
    const { clock, random, connections } = this.options;
    const idleMs = connections?.idleTimeoutMs ?? keepAliveMs;
    // A server that offers to wait longer does not change when we let go.
    const keepAliveTimeout = idleMs === 0 ? neverMs : Math.min(idleMs, neverMs);
    const client = new Client(origin, {
      ...clientOptions,
      keepAliveTimeout,
      keepAliveMaxTimeout: keepAliveTimeout,
      connect: (_options, done) => {
        this.#connecting++;
        connect(this.options, (error, socket, peer) => {
          this.#connecting--;
          connection.peer = peer;
          connection.requests = 0;
          connection.introduced = false;
          connection.retireAtMs = Math.min(
            peer.notAfterMs - expiryMarginMs,
            clock.wall() + ageOf(this.options.connections, random),
          );
          if (error !== null) {
            done(error, null);
            return this.#giveUp(error);
          }
          connection.socket = socket!;
          done(null, socket!);
          this.#formLater();
        });
      },
    });
    const connection: Connection = {
      client,
      peer: plaintextPeer,
      retireAtMs: Infinity,
      requests: 0,
      socket: undefined,
      introduced: false,
      introducing: false,
      switched: undefined,
      nextIdle: undefined,
    };
    this.#all.add(connection);
    if (this.options.limit !== undefined) this.options.limit.connections++;
    return connection;
  }

  /** Closes a connection once its request, if it has one, has ended. */
  #drop(connection: Connection): void {
    if (this.#all.delete(connection) && this.options.limit !== undefined) this.options.limit.connections--;
    this.#closing++;
    const closed = (): void => {
      this.#closing--;
      if (this.#closed && this.#all.size + this.#closing === 0) this.#empty?.resolve();
    };
    connection.client.close().then(closed, closed);
  }
}

/**
 * Never dialled: the connector above decides where to and how. Always `http:`, for undici would tear a connection of an `https:`
 * origin down whenever the Host header, from which it takes the server name, differs from the last one.
 */
const origin = "http://endpoint.invalid";

const clientOptions = {
  pipelining: 1,
  allowH2: false,
  maxHeaderSize: 61_440,
} as const;
