import type { Hash64 } from "../../hash/xxhash64.ts";
import { xxHash64 } from "../../hash/xxhash64.ts";
import type { HashMember, HashTable } from "./hash-table.ts";

/**
 * Maglev's look-up table (Eisenbud et al., NSDI 2016, listing 1, with weights): each endpoint has its own permutation of all
 * entries, and in turns takes the next one that is free. Shares are exact to an entry, and a look-up is one remainder; in return a
 * change of one endpoint moves a few keys of the others. Entry for entry the table of Envoy.
 */
export class Maglev implements HashTable {
  readonly #table: Int32Array;
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
    return this.#table[remainder(h, l, this.#carry, this.#table.length)]!;
  }
}

function filled(members: readonly HashMember[], size: number): Int32Array {
  const order = byKey(members);
  const n = order.length;
  const next = new Int32Array(n);
  const skip = new Int32Array(n);
  const shares = new Float64Array(n);
  const hash: Hash64 = { high: 0, low: 0 };
  const carry = 4_294_967_296 % size;
  const carryOfSkip = 4_294_967_296 % (size - 1);
  for (let turn = 0; turn < n; turn++) {
    const { key, share } = members[order[turn]!]!;
    xxHash64(key, hash);
    next[turn] = remainder(hash.high, hash.low, carry, size);
    xxHash64(key, hash, 0, 1);
    skip[turn] = remainder(hash.high, hash.low, carryOfSkip, size - 1) + 1;
    shares[turn] = share;
  }
  const table = new Int32Array(size).fill(-1);
  const target = new Float64Array(n);
  const largest = shares.reduce((most, share) => Math.max(most, share), 0);
  let left = size;
  for (let round = 1; left > 0; round++)
    for (let turn = 0; turn < n && left > 0; turn++) {
      // The largest takes an entry every round, one of a third of its weight every third.
      if (round * shares[turn]! < target[turn]!) continue;
      target[turn] = target[turn]! + largest;
      next[turn] = take(table, next[turn]!, skip[turn]!, order[turn]!);
      left--;
    }
  return table;
}

/** Gives the first free entry from `at` on, in steps, to `member`; returns where it goes on. */
function take(table: Int32Array, at: number, step: number, member: number): number {
  const size = table.length;
  while (table[at] !== -1) {
    at += step;
    if (at >= size) at -= size;
  }
  table[at] = member;
  at += step;
  return at >= size ? at - size : at;
}

/** Turns go by the order of the keys: the order in which endpoints were told must not matter. */
function byKey(members: readonly HashMember[]): Int32Array {
  const places = new Map<string, number>();
  for (let at = 0; at < members.length; at++) places.set(members[at]!.key, at);
  // Two of one key, as hash keys of endpoints can be.
  if (places.size < members.length)
    return Int32Array.from(members.keys()).sort((a, b) => (members[a]!.key < members[b]!.key ? -1 : 1));
  // The runtime's own order of texts is that of their bytes, and much faster than a comparison in script.
  const sorted = members.map(({ key }) => key).sort();
  const order = new Int32Array(sorted.length);
  for (let i = 0; i < order.length; i++) order[i] = places.get(sorted[i]!)!;
  return order;
}

/** Of 64 bits, where `carry` is 2^32 modulo `by`. All numbers stay below 2^47: exact. */
function remainder(high: number, low: number, carry: number, by: number): number {
  return modulo(modulo(high >>> 0, by) * carry + (low >>> 0), by);
}

/** `n % by` is several times as slow for what does not fit into 31 bits. */
function modulo(n: number, by: number): number {
  return n - Math.floor(n / by) * by;
}
