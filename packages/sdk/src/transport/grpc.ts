import { type Attempt, type Clock, MeshError, type Sink, type Transport } from "@trama/engine";
import type { IdentitySource } from "@trama/xds/ca";

import { refuseToConnect } from "./connect.ts";
import { H2Pool } from "./grpc-pool.ts";
import { H2Request } from "./grpc-request.ts";
import { SecureContexts, tlsFor, tlsKey } from "./tls.ts";

/** A connection that nobody used for this long is closed. gRPC's clients wait longer, but a mesh has many endpoints. */
const unusedMs = 300_000;
const sweepMs = 60_000;

export interface H2TransportOptions {
  readonly identity: Pick<IdentitySource, "current">;
  readonly clock: Clock;
  readonly random: () => number;
}

/**
 * Sends attempts over HTTP/2, on streams of `node:http2`. It stands below the engine as undici does for HTTP/1.1, and not on grpc-js's own
 * channel: that would bring a second balancer, a second back-off and a second retry, could not say whether a request had
 * left the process, and would leave no way to the certificate of the connection.
 * One pool for each endpoint address, TLS setting and identity epoch: a renewed certificate makes a new pool, and the old one ends with
 * its last stream.
 */
export class H2Transport implements Transport {
  readonly #options: H2TransportOptions;
  readonly #contexts = new SecureContexts();
  /** By endpoint address; nearly always one pool each. */
  readonly #pools = new Map<string, H2Pool[]>();
  readonly #closing = new Set<H2Pool>();
  #sweeping = false;
  #closed = false;

  constructor(options: H2TransportOptions) {
    this.#options = options;
  }

  send(attempt: Attempt, sink: Sink): void {
    const pool = this.#closed ? new MeshError("CLOSED", "the mesh is closed") : this.#pool(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    const request = new H2Request(attempt, sink, pool);
    attempt.bind(request);
    if (!request.over) pool.submit(request);
  }

  /** Pools that exist, for tests and status. */
  get size(): number {
    let count = 0;
    for (const pools of this.#pools.values()) count += pools.length;
    return count + this.#closing.size;
  }

  /** Waits for what is under way, at most `deadlineMs`, then cuts the rest. */
  async close(deadlineMs: number): Promise<void> {
    this.#closed = true;
    for (const pools of this.#pools.values()) for (const pool of pools) this.#retire(pool);
    this.#pools.clear();
    const left = [...this.#closing];
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(deadlineMs, resolve);
    await Promise.race([Promise.all(left.map((pool) => pool.close())), late]);
    timer.cancel();
    for (const pool of left)
      pool.destroy(new MeshError("CLOSED", "the mesh was closed while the call was under way", { sent: true }));
  }

  #pool({ cluster, endpoint }: Attempt): H2Pool | MeshError {
    const tls = tlsFor(cluster, endpoint);
    const identity = tls === undefined ? undefined : this.#options.identity.current;
    const pools = this.#pools.get(endpoint.address);
    if (pools !== undefined) {
      for (const pool of pools) {
        const { options } = pool;
        const same =
          options.tls === tls ||
          (tls !== undefined && options.tls !== undefined && tlsKey(options.tls) === tlsKey(tls));
        if (
          !same ||
          options.maxConnections !== cluster.breaker.maxConnections ||
          options.maxPending !== cluster.breaker.maxPending
        )
          continue;
        if (options.identity?.epoch === identity?.epoch) return pool;
        // The identity was renewed: this one lives on until its last stream has ended.
        pools.splice(pools.indexOf(pool), 1);
        this.#retire(pool);
        break;
      }
    }
    if (tls !== undefined) {
      const refused = refuseToConnect(tls, identity, this.#options.clock.wall());
      if (refused !== undefined) return refused;
    }
    const pool = new H2Pool({
      ...this.#options,
      endpoint,
      tls,
      identity,
      contexts: this.#contexts,
      connectTimeoutMs: cluster.connectTimeoutMs,
      maxConnections: cluster.breaker.maxConnections,
      maxPending: cluster.breaker.maxPending,
    });
    if (pools === undefined) this.#pools.set(endpoint.address, [pool]);
    else pools.push(pool);
    if (!this.#sweeping) this.#sweepLater();
    return pool;
  }

  #retire(pool: H2Pool): void {
    this.#closing.add(pool);
    void pool.close().then(() => this.#closing.delete(pool));
  }

  #sweepLater(): void {
    this.#sweeping = true;
    this.#options.clock.after(sweepMs, () => {
      const limit = this.#options.clock.now() - unusedMs;
      for (const [address, pools] of this.#pools) {
        const kept = pools.filter((pool) => pool.busy > 0 || pool.lastUsedMs > limit);
        for (const pool of pools) if (!kept.includes(pool)) this.#retire(pool);
        if (kept.length > 0) this.#pools.set(address, kept);
        else this.#pools.delete(address);
      }
      this.#sweeping = false;
      if (this.#pools.size > 0) this.#sweepLater();
    });
  }
}
