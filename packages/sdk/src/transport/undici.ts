import { type Attempt, type HealthAnswer, MeshError, type Sink, type Timer, type Transport } from "@trama/engine";

import { HttpBody } from "./body.ts";
import { ClusterLimits } from "./cluster-limits.ts";
import { connect } from "./connect.ts";
import { EndpointPools, type TransportOptions } from "./endpoint-pools.ts";
import { H2Transport } from "./h2.ts";
import { Pool } from "./pool.ts";
import { TcpTransport } from "./tcp.ts";
import { UpstreamRequest } from "./upstream-request.ts";

/** A pool that nobody used for this long is closed; its sockets, idle for four seconds, were long before. */
const unusedMs = 60_000;

/**
 * Sends attempts over HTTP/1.1 by undici, from a pool for each endpoint ({@link EndpointPools}); to a cluster of HTTP/2 over streams of our own.
 * A request to switch protocols goes over HTTP/1.1 in any case: HTTP/2's own way (RFC 8441) is one that few servers take.
 */
export class UndiciTransport implements Transport {
  readonly #pools: EndpointPools<Pool>;
  /** gRPC shares its connections. */
  readonly http2: H2Transport;
  /** Connections to opaque ports. */
  readonly tcp: TcpTransport;

  constructor(given: TransportOptions) {
    // A cluster's limits hold for both protocols together.
    const options = { ...given, limits: given.limits ?? new ClusterLimits() };
    this.#pools = new EndpointPools(options, unusedMs, (pool) => new Pool(pool));
    this.http2 = new H2Transport(options);
    this.tcp = new TcpTransport(options);
  }

  send(attempt: Attempt, sink: Sink): void {
    const { body } = attempt.call;
    if (attempt.cluster.http2 && !(body instanceof HttpBody && body.upgrade !== null))
      return this.http2.send(attempt, sink);
    const pool = this.#pools.of(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    const request = new UpstreamRequest(attempt, sink, pool);
    attempt.bind(request);
    if (!request.over) pool.submit(request);
  }

  /** Makes a connection and closes it: whether the endpoint can be reached at all. */
  reach(attempt: Attempt, done: (answer: HealthAnswer) => void): Timer {
    const pool = this.#pools.of(attempt);
    let cancelled = false;
    if (pool instanceof MeshError) done("unknown");
    else
      connect(pool.options, (error, socket) => {
        socket?.destroy();
        if (!cancelled) done(error === null ? "well" : "failed");
      });
    return { cancel: () => void (cancelled = true) };
  }

  /** Pools that exist, for tests and status. */
  get size(): number {
    return this.#pools.size + this.http2.size + this.tcp.size;
  }

  /** Waits for what is under way, at most `deadlineMs`, then cuts the rest; connections to opaque ports at once. */
  async close(deadlineMs: number): Promise<void> {
    await Promise.all([this.#pools.close(deadlineMs), this.http2.close(deadlineMs), this.tcp.close()]);
  }
}
