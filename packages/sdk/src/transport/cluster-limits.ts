import type { ClusterConfig } from "@trama/engine";

/** What Istio and Envoy write for "no limit". */
const unlimited = 4_294_967_295;

/** A pool that takes part in a limit. */
export interface LimitedPool {
  /** Closes a connection that nobody uses just now, if there is one. */
  dropIdle(): boolean;
}

/**
 * How many connections all pools of one cluster have together, and how many requests wait for one: Envoy's `max_connections` and
 * `max_pending_requests`. As in Envoy, a pool may always have its first connection, or its requests would wait for ever for
 * those of other endpoints; so a cluster can have one a live endpoint, however small the number.
 */
export class ClusterLimit {
  maxConnections: number;
  maxPending: number;
  connections = 0;
  pending = 0;
  readonly pools: Set<LimitedPool> = new Set();

  constructor({ maxConnections, maxPending }: ClusterConfig["breaker"]) {
    this.maxConnections = maxConnections;
    this.maxPending = maxPending;
  }

  /** Asked by a pool that has `own` connections, all busy. One that is idle at another endpoint makes room. */
  admits(pool: LimitedPool, own: number): boolean {
    if (own === 0 || this.connections < this.maxConnections) return true;
    for (const other of this.pools) if (other !== pool && other.dropIdle()) return true;
    return false;
  }
}

/**
 * The limits by cluster, one set for all transports of a process. The numbers are those of the newest attempt's snapshot, the counts outlive
 * them.
 */
export class ClusterLimits {
  readonly #limits = new Map<string, ClusterLimit>();

  /** `undefined`: the cluster has neither limit, and its pools are not counted. */
  of({ name, breaker }: ClusterConfig): ClusterLimit | undefined {
    if (breaker.maxConnections >= unlimited && breaker.maxPending >= unlimited) return undefined;
    let limit = this.#limits.get(name);
    if (limit === undefined) this.#limits.set(name, (limit = new ClusterLimit(breaker)));
    limit.maxConnections = breaker.maxConnections;
    limit.maxPending = breaker.maxPending;
    return limit;
  }

  /** The pool is closed. What no pool takes part in is forgotten. */
  leave(pool: LimitedPool, limit: ClusterLimit): void {
    limit.pools.delete(pool);
    if (limit.pools.size > 0) return;
    for (const [name, each] of this.#limits) if (each === limit) this.#limits.delete(name);
  }

  get size(): number {
    return this.#limits.size;
  }
}
