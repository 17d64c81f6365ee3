import { type Attempt, MeshError, type Sink, type Transport } from "@trama/engine";

import { EndpointPools, type TransportOptions } from "./endpoint-pools.ts";
import { Pool } from "./pool.ts";
import { UpstreamRequest } from "./upstream-request.ts";

/** A pool that nobody used for this long is closed; its sockets, idle for four seconds, were long before. */
const unusedMs = 60_000;

/** Sends attempts over HTTP/1.1 by undici, from a pool for each endpoint ({@link EndpointPools}). */
export class UndiciTransport implements Transport {
  readonly #pools: EndpointPools<Pool>;

  constructor(options: TransportOptions) {
    this.#pools = new EndpointPools(options, unusedMs, (pool) => new Pool(pool));
  }

  send(attempt: Attempt, sink: Sink): void {
    const pool = this.#pools.of(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    const request = new UpstreamRequest(attempt, sink, pool);
    attempt.bind(request);
    if (!request.over) pool.submit(request);
  }

  /** Pools that exist, for tests and status. */
  get size(): number {
    return this.#pools.size;
  }

  /** Waits for what is under way, at most `deadlineMs`, then cuts the rest. */
  close(deadlineMs: number): Promise<void> {
    return this.#pools.close(deadlineMs);
  }
}
