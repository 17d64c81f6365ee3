import type { ClusterState } from "../../state.ts";
import type { Endpoint } from "../endpoint.ts";
import type { HashMember, HashTable } from "./hash-table.ts";

/**
 * Consistent hashing with bounded loads (Mirrokni et al.; Envoy `hash_balance_factor`): an endpoint takes no more than `factor`
 * percent of its share of the attempts in flight. What it may not take goes to the others in an order that the key decides, so a
 * key in need has its second, third, … home too, and no neighbour inherits all the load of another.
 */
export class BoundedLoad implements HashTable {
  readonly #inner: HashTable;
  readonly #endpoints: readonly Endpoint[];
  readonly #shares: Float64Array;
  readonly #factor: number;
  readonly #cluster: Pick<ClusterState, "requests">;
  /** A prime that is no less than the number of endpoints: steps of any length modulo it reach all of them. */
  readonly #prime: number;

  constructor(
    inner: HashTable,
    endpoints: readonly Endpoint[],
    members: readonly HashMember[],
    factor: number,
    cluster: Pick<ClusterState, "requests">,
  ) {
    this.#inner = inner;
    this.#endpoints = endpoints;
    this.#shares = Float64Array.from(members, ({ share }) => share);
    this.#factor = factor;
    this.#cluster = cluster;
    this.#prime = primeFrom(Math.max(endpoints.length, 2));
  }

  at(high: number, low: number, selection: number, takes?: (index: number) => boolean): number {
    const slots = Math.ceil(((this.#cluster.requests + 1) * this.#factor) / 100);
    const home = this.#inner.at(high, low, selection, takes);
    if (home === -1) return -1;
    let least = this.#load(home, slots);
    if (least <= 1) return home;
    let best = home;
    const n = this.#endpoints.length;
    const prime = this.#prime;
    // The two halves of a key are as good as independent.
    let at = (low >>> 0) % prime;
    const step = 1 + ((high >>> 0) % (prime - 1));
    for (let i = 0; i < prime; i++, at = (at + step) % prime) {
      if (at >= n || at === home || takes?.(at) === false) continue;
      const load = this.#load(at, slots);
      if (load <= 1) return at;
      if (load < least) {
        least = load;
        best = at;
      }
    }
    return best;
  }

  /** Of what it may have; above 1 it has more. */
  #load(at: number, slots: number): number {
    return this.#endpoints[at]!.known.active / Math.max(Math.ceil(slots * this.#shares[at]!), 1);
  }
}

function primeFrom(n: number): number {
  let candidate = n;
  while (!isPrime(candidate)) candidate++;
  return candidate;
}

export function isPrime(n: number): boolean {
  if (!Number.isInteger(n) || n < 2) return false;
  for (let by = 2; by * by <= n; by++) if (n % by === 0) return false;
  return true;
}
