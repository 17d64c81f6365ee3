import { MeshError } from "@trama/engine";

import type { EndpointPool, PoolOptions } from "./endpoint-pools.ts";
import { H2Connection } from "./h2-connection.ts";
import type { H2Request } from "./h2-request.ts";

/**
 * The HTTP/2 connections to one endpoint under one TLS setting and one identity: nearly always one. A second is opened only when the
 * first has as many streams as it may, and never while one is connecting.
 */
export class H2Pool implements EndpointPool {
  readonly options: PoolOptions;
  readonly #usable = new Set<H2Connection>();
  readonly #leaving = new Set<H2Connection>();
  readonly #waiting: H2Request[] = [];
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
    return this.#lastUsedMs;
  }

  submit(request: H2Request): void {
    this.#used = true;
    if (this.#begin(request)) return;
    const { maxConnections, maxPending, endpoint } = this.options;
    if (this.#waiting.length >= maxPending) {
      request.fail(
        new MeshError("OVERFLOW", `${endpoint.address}: ${maxPending} requests wait for a connection already`),
      );
      return;
    }
    this.#waiting.push(request);
    this.#openIfNone(maxConnections);
  }

  /** A request that was aborted while it waited. */
  forget(request: H2Request): void {
    const at = this.#waiting.indexOf(request);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** A stream has ended, so another may begin. */
  freed(): void {
    if (this.#waiting.length > 0) this.#flush();
    this.#endIfEmpty();
  }

  /** A connection takes no new streams any more. */
  left(connection: H2Connection): void {
    if (!this.#usable.delete(connection)) return;
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
    for (const request of this.#waiting.splice(0)) request.fail(error);
    for (const connection of [...this.#usable, ...this.#leaving]) connection.destroy(error);
    this.#empty?.resolve();
  }

  #begin(request: H2Request): boolean {
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
    connection.open((error) => {
      if (error === undefined) return this.#flush();
      this.#usable.delete(connection);
      this.#leaving.delete(connection);
      // Everyone who waited for it learns why; whether to try again is the engine's business.
      for (const request of this.#waiting.splice(0)) request.fail(error);
      this.#endIfEmpty();
    });
  }

  /** One at a time: whoever waits may find room on it. */
  #openIfNone(maxConnections: number): void {
    if (this.#usable.size >= maxConnections) return;
    for (const connection of this.#usable) if (connection.connecting) return;
    this.#open();
  }

  #flush(): void {
    while (this.#waiting.length > 0) {
      const request = this.#waiting.shift()!;
      if (this.#begin(request)) continue;
      this.#waiting.unshift(request);
      break;
    }
    if (this.#waiting.length > 0) this.#openIfNone(this.options.maxConnections);
    if (this.#closed && this.#waiting.length === 0) for (const connection of this.#usable) connection.leave();
  }

  #endIfEmpty(): void {
    if (this.#closed && this.#usable.size + this.#leaving.size + this.#waiting.length === 0) this.#empty?.resolve();
  }
}
