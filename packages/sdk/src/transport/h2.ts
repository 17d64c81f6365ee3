import { type Attempt, MeshError, type Sink, type Transport } from "@trama/engine";

import { EndpointPools, type TransportOptions } from "./endpoint-pools.ts";
import { H2Pool } from "./h2-pool.ts";
import { H2Request } from "./h2-request.ts";

/** A pool that nobody used for this long is closed. gRPC's clients wait longer, but a mesh has many endpoints. */
const unusedMs = 300_000;

/**
 * Sends attempts over HTTP/2, on streams of `node:http2`: gRPC's, and HTTP's to clusters of that protocol. It stands below the engine as
 * undici does for HTTP/1.1, and gRPC not on grpc-js's own channel: that would bring a second balancer, a second back-off and a second retry, could not say whether a request had
 * left the process, and would leave no way to the certificate of the connection (docs/adr/0004).
 */
export class H2Transport implements Transport {
  readonly #pools: EndpointPools<H2Pool>;

  constructor(options: TransportOptions) {
    this.#pools = new EndpointPools(options, unusedMs, (pool) => new H2Pool(pool));
  }

  send(attempt: Attempt, sink: Sink): void {
    const pool = this.#pools.of(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    const request = new H2Request(attempt, sink, pool);
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
