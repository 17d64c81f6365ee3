import type { BreakerConfig } from "../config.ts";
import type { ClusterState } from "../state.ts";

/**
 * Circuit breaker of one cluster (R48): how many attempts and how many retries may be under way at once. The limits
 * belong to the snapshot, the counts to keyed state, so that calls of an older snapshot still count against the newer
 * limits. Whoever was admitted says so when its last event came, once, however it ended.
 *
 * `maxConnections` and `maxPending` bound what only the transport can see; it reads them from `Attempt.cluster.breaker`
 * and answers OVERFLOW. What waits in its queue counts here as active, which is what a retry budget measures.
 */
export class Breaker {
  readonly #limits: BreakerConfig;
  readonly #counts: ClusterState;

  constructor(limits: BreakerConfig, counts: ClusterState) {
    this.#limits = limits;
    this.#counts = counts;
  }

  admitRequest(): boolean {
    if (this.#counts.requests >= this.#limits.maxRequests) return false;
    this.#counts.requests++;
    this.#counts.called = true;
    return true;
  }

  requestEnded(): void {
    this.#counts.requests--;
  }

  /** Asked while the attempt to be repeated still counts as active. A retry is held from here to its own end. */
  admitRetry(): boolean {
    if (this.#counts.retries >= this.#retryLimit()) return false;
    this.#counts.retries++;
    return true;
  }

  retryEnded(): void {
    this.#counts.retries--;
  }

  #retryLimit(): number {
    const budget = this.#limits.retryBudget;
    if (budget === undefined) return this.#limits.maxRetries;
    return Math.max(budget.minConcurrency, Math.floor((this.#counts.requests * budget.percent) / 100));
  }
}
