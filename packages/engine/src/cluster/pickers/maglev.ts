import type { Hash64 } from "../../hash/xxhash64.ts";
import { xxHash64 } from "../../hash/xxhash64.ts";
import type { HashMember, HashTable } from "./hash-table.ts";

/**
 * Maglev's look-up table (Eisenbud et al., NSDI 2016, listing 1, with weights): each endpoint has its own permutation of all
 * entries, and in turns takes the next one that is free. Shares are exact to an entry, and a look-up is one remainder; in return a
 * change of one endpoint moves a few keys of the others. Entry for entry the table of Envoy.
 */
export class Maglev implements HashTable {
  readonly #table: Uint32Array;
  /** 2^32 modulo the size. */
  readonly #carry: number;

  /** `size` is a prime, so that every step of a permutation reaches every entry. */
  constructor(members: readonly HashMember[], size: number) {
    this.#table = filled(members, size);
    this.#carry = 4_294_967_296 % size;
  }

  at(high: number, low: number, selection: number): number {
    let h = high;
    let l = low;
    if (selection > 0) {
      // Minus the selection, as 64 bits: nearly all of them change.
      h = ~h;
      l ^= -selection;
    }
    const size = this.#table.length;
    // Below 2^47: exact.
    return this.#table[(((h >>> 0) % size) * this.#carry + (l >>> 0)) % size]!;
  }
}

function filled(members: readonly HashMember[], size: number): Uint32Array {
  const n = members.length;
  // Turns go by the order of the keys: the order in which endpoints were told must not matter.
  const order = Array.from(members, (_, at) => at).toSorted((a, b) => (members[a]!.key < members[b]!.key ? -1 : 1));
  const next = new Uint32Array(n);
  const skip = new Uint32Array(n);
  const hash: Hash64 = { high: 0, low: 0 };
  let largest = 0;
  for (const [turn, member] of order.entries()) {
    const { key, share } = members[member]!;
    xxHash64(key, hash);
    next[turn] = remainder(hash, size);
    xxHash64(key, hash, 0, 1);
    skip[turn] = remainder(hash, size - 1) + 1;
    largest = Math.max(largest, share);
  }
  const free = 0xffff_ffff;
  const table = new Uint32Array(size).fill(free);
  const target = new Float64Array(n);
  let left = size;
  for (let round = 1; left > 0; round++)
    for (let turn = 0; turn < n && left > 0; turn++) {
      const member = order[turn]!;
      // The largest takes an entry every round, one of a third of its weight every third.
      if (round * members[member]!.share < target[turn]!) continue;
      target[turn] = target[turn]! + largest;
      let at = next[turn]!;
      const step = skip[turn]!;
      while (table[at] !== free) at = at + step < size ? at + step : at + step - size;
      table[at] = member;
      next[turn] = at + step < size ? at + step : at + step - size;
      left--;
    }
  return table;
}

function remainder({ high, low }: Hash64, by: number): number {
  return (((high >>> 0) % by) * (4_294_967_296 % by) + (low >>> 0)) % by;
}
