import type { ClientHttp2Session } from "node:http2";
import { MeshError } from "@trama/engine";

import type { EndpointPool, PoolOptions } from "./endpoint-pools.ts";
import { type ConnectionOwner, H2Connection } from "./h2-connection.ts";
import type { KeepAlive } from "./stream-body.ts";

/** From the shortest time that gRPC allows, ten seconds, to well past the five minutes that servers permit by default. */
const maxPingFactor = 64;

/** A request as the pool sees it: something that becomes a stream. */
export interface Streamed {
  /** Its sink has heard the last. */
  readonly over: boolean;
  readonly keepAlive: KeepAlive | undefined;
  /** False when the connection could not take it after all; then it is still waiting. */
  begin(connection: H2Connection, session: ClientHttp2Session): boolean;
  fail(error: MeshError): void;
}

/**
 * The HTTP/2 connections to one endpoint under one TLS setting and one identity: nearly always one. A second is opened only when the
 * first has as many streams as it may, and never while one is connecting.
 */
export class H2Pool implements EndpointPool, ConnectionOwner {
  readonly options: PoolOptions;
  pingFactor = 1;
  readonly #usable = new Set<H2Connection>();
  readonly #leaving = new Set<H2Connection>();
  readonly #waiting: Streamed[] = [];
  /** Since somebody asked. */
  #used = true;
  #lastUsedMs = 0;
  #closed = false;
  #empty: PromiseWithResolvers<void> | undefined;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /** Streams under way and requests that wait for one. */
  get busy(): number {
    let streams = this.#waiting.length;
    for (const connection of this.#usable) streams += connection.streams;
    return streams;
  }

  usedBy(nowMs: number): number {
    if (this.#used || this.busy > 0) this.#lastUsedMs = nowMs;
    this.#used = false;
    // One whose time has come and that nobody wants leaves when it is looked at.
    for (const connection of this.#usable) void connection.free;
    return this.#lastUsedMs;
  }

  submit(request: Streamed): void {
    this.#used = true;
    if (this.#begin(request)) return;
    const { limit, endpoint } = this.options;
    if (limit !== undefined) {
      if (limit.pending >= limit.maxPending) {
        const text = `${endpoint.address}: ${limit.maxPending} requests of the cluster wait for a connection already`;
        request.fail(new MeshError("OVERFLOW", text));
        return;
      }
      limit.pending++;
    }
    this.#waiting.push(request);
    this.#openIfNone();
  }

  /** A request that was aborted while it waited. */
  forget(request: Streamed): void {
    const at = this.#waiting.indexOf(request);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (this.options.limit !== undefined) this.options.limit.pending--;
  }

  dropIdle(): boolean {
    for (const connection of this.#usable) {
      if (connection.streams > 0 || connection.connecting) continue;
      connection.leave();
      return true;
    }
    return false;
  }

  /** Whoever waited longest. */
  #next(): Streamed | undefined {
    const request = this.#waiting.shift();
    if (request !== undefined && this.options.limit !== undefined) this.options.limit.pending--;
    return request;
  }

  #forgetConnection(connection: H2Connection): boolean {
    if (!this.#usable.delete(connection)) return false;
    if (this.options.limit !== undefined) this.options.limit.connections--;
    return true;
  }

  /** The server took our pings for too many: the next connection has half as many (gRFC A8), or it would be cut off over and over. */
  calmDown(): void {
    this.pingFactor = Math.min(this.pingFactor * 2, maxPingFactor);
  }

  /** A stream has ended, so another may begin. */
  freed(): void {
    if (this.#waiting.length > 0) this.#flush();
    this.#endIfEmpty();
  }

  /** A connection takes no new streams any more. */
  left(connection: H2Connection): void {
    if (!this.#forgetConnection(connection)) return;
    if (!connection.lost) this.#leaving.add(connection);
    this.#flush();
  }

  closed(connection: H2Connection): void {
    this.#leaving.delete(connection);
    this.#endIfEmpty();
  }

  /** Lets what is under way or waits end, then opens nothing more. Resolves when the last connection is closed. */
  close(): Promise<void> {
    this.#closed = true;
    if (this.#waiting.length === 0) for (const connection of this.#usable) connection.leave();
    this.#empty ??= Promise.withResolvers<void>();
    this.#endIfEmpty();
    return this.#empty.promise;
  }

  /** Cuts everything. */
  destroy(error: MeshError): void {
    this.#closed = true;
    for (let request = this.#next(); request !== undefined; request = this.#next()) request.fail(error);
    for (const connection of [...this.#usable, ...this.#leaving]) connection.destroy(error);
    this.#empty?.resolve();
  }

  #begin(request: Streamed): boolean {
    for (const connection of this.#usable) {
      const session = connection.free;
      if (session === undefined) continue;
      if (request.over) return true;
      if (!request.begin(connection, session)) continue;
      if (!request.over) connection.used(request.keepAlive);
      return true;
    }
    return false;
  }

  #open(): void {
    const connection = new H2Connection(this);
    this.#usable.add(connection);
    if (this.options.limit !== undefined) this.options.limit.connections++;
    connection.open((error) => {
      if (error === undefined) return this.#flush();
      this.#forgetConnection(connection);
      this.#leaving.delete(connection);
      // Everyone who waited for it learns why; whether to try again is the engine's business.
      for (let request = this.#next(); request !== undefined; request = this.#next()) request.fail(error);
      this.#endIfEmpty();
    });
  }

  /** One at a time: whoever waits may find room on it. */
  #openIfNone(): void {
    for (const connection of this.#usable) if (connection.connecting) return;
    if (this.options.limit?.admits(this, this.#usable.size) !== false) this.#open();
  }

  #flush(): void {
    for (let request = this.#next(); request !== undefined; request = this.#next()) {
      if (this.#begin(request)) continue;
      this.#waiting.unshift(request);
      if (this.options.limit !== undefined) this.options.limit.pending++;
      break;
    }
    if (this.#waiting.length > 0) this.#openIfNone();
    if (this.#closed && this.#waiting.length === 0) for (const connection of this.#usable) connection.leave();
  }

  #endIfEmpty(): void {
    if (this.#closed && this.#usable.size + this.#leaving.size + this.#waiting.length === 0) this.#empty?.resolve();
  }
}
