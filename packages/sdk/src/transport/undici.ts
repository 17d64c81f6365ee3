import { type Attempt, type Clock, MeshError, type Sink, type Transport } from "@trama/engine";
import type { IdentitySource } from "@trama/xds/ca";

import { refuseToConnect } from "./connect.ts";
import { Pool } from "./pool.ts";
import { SecureContexts, tlsFor, tlsKey } from "./tls.ts";
import { UpstreamRequest } from "./upstream-request.ts";

/** A pool that nobody used for this long is closed; its sockets, idle, were long before. */
const unusedMs = 60_000;
const sweepMs = 30_000;

export interface UndiciTransportOptions {
  readonly identity: Pick<IdentitySource, "current">;
  readonly clock: Clock;
  readonly random: () => number;
}

/**
 * Sends attempts over HTTP/1.1 by undici. One pool for each endpoint address, TLS setting and identity epoch: a renewed certificate
 * or other settings make a new pool, and the old one ends with its last request, so that neither fails anything. An endpoint that
 * left the configuration gets no attempt any more; its idle connections close after four seconds, its pool with the next sweep.
 */
export class UndiciTransport implements Transport {
  readonly #options: UndiciTransportOptions;
  readonly #contexts = new SecureContexts();
  /** By endpoint address; nearly always one pool each. */
  readonly #pools = new Map<string, Pool[]>();
  readonly #closing = new Set<Pool>();
  #sweeping = false;
  #closed = false;

  constructor(options: UndiciTransportOptions) {
    this.#options = options;
  }

  send(attempt: Attempt, sink: Sink): void {
    const pool = this.#closed ? new MeshError("CLOSED", "the mesh is closed") : this.#pool(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    const request = new UpstreamRequest(attempt, sink, pool);
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
    const pools = [...this.#pools.values()].flat();
    this.#pools.clear();
    for (const pool of pools) this.#retire(pool);
    const left = [...this.#closing];
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(deadlineMs, resolve);
    await Promise.race([Promise.all(left.map((pool) => pool.close())), late]);
    timer.cancel();
    for (const pool of left)
      pool.destroy(new MeshError("CLOSED", "the mesh was closed while the request was under way", { sent: true }));
  }

  #pool({ cluster, endpoint }: Attempt): Pool | MeshError {
    const tls = tlsFor(cluster, endpoint);
    const identity = tls === undefined ? undefined : this.#options.identity.current;
    const epoch = identity?.epoch;
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
        if (options.identity?.epoch === epoch) return pool;
        // The identity was renewed: this one lives on until its last request has ended.
        pools.splice(pools.indexOf(pool), 1);
        this.#retire(pool);
        break;
      }
    }
    if (tls !== undefined) {
      const refused = refuseToConnect(tls, identity, this.#options.clock.wall());
      if (refused !== undefined) return refused;
    }
    const pool = new Pool({
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

  #retire(pool: Pool): void {
    this.#closing.add(pool);
    void pool.close().then(() => this.#closing.delete(pool));
  }

  #sweepLater(): void {
    this.#sweeping = true;
    this.#options.clock.after(sweepMs, () => {
      const now = this.#options.clock.now();
      for (const [address, pools] of this.#pools) {
        const kept = pools.filter((pool) => pool.usedBy(now) > now - unusedMs);
        for (const pool of pools) if (!kept.includes(pool)) this.#retire(pool);
        if (kept.length > 0) this.#pools.set(address, kept);
        else this.#pools.delete(address);
      }
      this.#sweeping = false;
      if (this.#pools.size > 0) this.#sweepLater();
    });
  }
}
