import { type Attempt, type Clock, type ConnectionConfig, MeshError } from "@trama/engine";
import type { IdentitySource } from "@trama/xds";

import { type ClusterLimit, ClusterLimits, type LimitedPool } from "./cluster-limits.ts";
import { type ConnectOptions, refuseToConnect } from "./connect.ts";
import { ServerContexts } from "./server-tls.ts";
import { SecureContexts, tlsFor, tlsKey } from "./tls.ts";

export interface TransportOptions {
  readonly identity: Pick<IdentitySource, "current">;
  readonly clock: Clock;
  readonly random: () => number;
  /** What peers are told of this process, over mTLS only: value of the peer header (docs/wire.md). Absent or empty: nothing. */
  readonly peer?: string | undefined;
  /** Shared by all transports of a process; without, the transport has its own. */
  readonly limits?: ClusterLimits | undefined;
}

export interface PoolOptions extends ConnectOptions {
  /** Of the cluster, if it has one: then the pool is the cluster's own. */
  readonly limit: ClusterLimit | undefined;
  /** How connections live, where the configuration says so. */
  readonly connections: ConnectionConfig | undefined;
  readonly random: () => number;
  /** What the other end is told of us; empty where it must not hear of it. */
  readonly peer: string;
}

/** The connections to one endpoint under one TLS setting and one identity. */
export interface EndpointPool extends LimitedPool {
  readonly options: PoolOptions;
  /** For whoever sweeps unused pools and asks now and then: monotonic time of the question before which it was last in use. */
  usedBy(nowMs: number): number;
  /** Lets what is under way or waits end, then opens nothing more. Resolves when the last connection is closed. */
  close(): Promise<void>;
  /** Cuts everything. */
  destroy(error: MeshError): void;
}

/** Also where connections never grow too idle, an endpoint that is gone must be forgotten some day. */
const longestUnusedMs = 86_400_000;

const texts = new WeakMap<ConnectionConfig, string>();

/** Equal settings share connections, even when they came in different messages. */
function sameConnections(one: ConnectionConfig | undefined, other: ConnectionConfig | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && textOf(one) === textOf(other));
}

function textOf(config: ConnectionConfig): string {
  let text = texts.get(config);
  if (text === undefined) texts.set(config, (text = JSON.stringify(config)));
  return text;
}

/**
 * One pool for each endpoint address, TLS setting and identity epoch: a renewed certificate or other settings make a new pool, and the
 * old one ends with its last request, so that neither fails anything. An endpoint that left the configuration gets no attempt any more,
 * and its pool ends with a sweep.
 */
export class EndpointPools<P extends EndpointPool> {
  readonly #options: TransportOptions;
  readonly #make: (options: PoolOptions) => P;
  /** A pool that nobody used for this long is closed; looked for twice as often. */
  readonly #unusedMs: number;
  readonly #contexts = new SecureContexts();
  readonly #limits: ClusterLimits;
  readonly #servers: ServerContexts;
  /** By endpoint address; nearly always one pool each. */
  readonly #pools = new Map<string, P[]>();
  readonly #closing = new Set<P>();
  #sweeping = false;
  #closed = false;

  constructor(options: TransportOptions, unusedMs: number, make: (options: PoolOptions) => P) {
    this.#options = options;
    this.#unusedMs = unusedMs;
    this.#make = make;
    this.#limits = options.limits ?? new ClusterLimits();
    this.#servers = new ServerContexts(options.clock);
  }

  /** Pools that exist, for tests and status. */
  get size(): number {
    let count = 0;
    for (const pools of this.#pools.values()) count += pools.length;
    return count + this.#closing.size;
  }

  /** The pool for an attempt, or why nothing may be sent. */
  of({ cluster, endpoint }: Attempt): P | MeshError {
    if (this.#closed) return new MeshError("CLOSED", "the mesh is closed");
    const tls = tlsFor(cluster, endpoint);
    const identity = tls === undefined || tls.kind === "server" ? undefined : this.#options.identity.current;
    const epoch = identity?.epoch;
    const limit = this.#limits.of(cluster);
    const pools = this.#pools.get(endpoint.address);
    if (pools !== undefined) {
      for (const pool of pools) {
        const { options } = pool;
        const same =
          options.tls === tls ||
          (tls !== undefined && options.tls !== undefined && tlsKey(options.tls) === tlsKey(tls));
        if (!same || options.limit !== limit || !sameConnections(options.connections, cluster.connections)) continue;
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
    const pool = this.#make({
      clock: this.#options.clock,
      random: this.#options.random,
      peer: (tls?.identity !== undefined && this.#options.peer) || "",
      endpoint,
      tls,
      identity,
      contexts: this.#contexts,
      servers: this.#servers,
      connectTimeoutMs: cluster.connectTimeoutMs,
      connections: cluster.connections,
      tcpKeepAliveMs: cluster.connections?.tcpKeepAliveMs,
      limit,
    });
    limit?.pools.add(pool);
    if (pools === undefined) this.#pools.set(endpoint.address, [pool]);
    else pools.push(pool);
    if (!this.#sweeping) this.#sweepLater();
    return pool;
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

  /** A pool outlives the connections that it may keep. */
  #patience({ options: { connections } }: P): number {
    const idleMs = connections?.idleTimeoutMs;
    if (idleMs === undefined) return this.#unusedMs;
    return idleMs === 0 ? longestUnusedMs : Math.min(longestUnusedMs, Math.max(this.#unusedMs, idleMs));
  }

  #retire(pool: P): void {
    this.#closing.add(pool);
    void pool.close().then(() => {
      this.#closing.delete(pool);
      const { limit } = pool.options;
      if (limit !== undefined) this.#limits.leave(pool, limit);
    });
  }

  #sweepLater(): void {
    this.#sweeping = true;
    this.#options.clock.after(this.#unusedMs / 2, () => {
      const now = this.#options.clock.now();
      for (const [address, pools] of this.#pools) {
        const kept = pools.filter((pool) => pool.usedBy(now) > now - this.#patience(pool));
        for (const pool of pools) if (!kept.includes(pool)) this.#retire(pool);
        if (kept.length > 0) this.#pools.set(address, kept);
        else this.#pools.delete(address);
      }
      this.#sweeping = false;
      if (this.#pools.size > 0) this.#sweepLater();
    });
  }
}
