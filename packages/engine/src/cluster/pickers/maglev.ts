import type { Hash64 } from "../../hash/xxhash64.ts";
import { xxHash64 } from "../../hash/xxhash64.ts";
import { inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { HashMember, HashTable } from "./hash-table.ts";

/** Entries that are looked at in a slice, and members that are sorted in one: some tenths of a millisecond. */
const looksASlice = 4_096;
const sortedAtOnce = 256;

/** So many selections are tried where somebody is to be passed over: enough unless nearly nobody takes traffic. */
const selections = 32;

/**
 * Maglev's look-up table (Eisenbud et al., NSDI 2016, listing 1, with weights): each endpoint has its own permutation of all
 * entries, and in turns takes the next one that is free. Shares are exact to an entry, and a look-up is one remainder; in return a
 * change of one endpoint moves a few keys of the others. Entry for entry the table of Envoy.
 */
export class Maglev implements HashTable {
  readonly #table: Int32Array;
  /** 2^32 modulo the size. */
  readonly #carry: number;

  private constructor(table: Int32Array) {
    this.#table = table;
    this.#carry = 4_294_967_296 % table.length;
  }

  /** `size` is a prime, so that every step of a permutation reaches every entry. */
  static *of(members: readonly HashMember[], size: number): Sliced<Maglev> {
    return new Maglev(yield* filled(members, size));
  }

  /** Passing over is another selection, as for a retry; then entry for entry, so that whoever takes traffic is found. */
  at(high: number, low: number, selection: number, takes?: (index: number) => boolean): number {
    const home = this.#entry(high, low, selection);
    if (takes === undefined) return this.#table[home]!;
    let at = home;
    for (let more = 1; more <= selections; more++) {
      if (takes(this.#table[at]!)) return this.#table[at]!;
      at = this.#entry(high, low, selection + more);
    }
    const { length } = this.#table;
    for (let step = 0; step < length; step++) {
      const owner = this.#table[(home + step) % length]!;
      if (takes(owner)) return owner;
    }
    return -1;
  }

  #entry(high: number, low: number, selection: number): number {
    let h = high;
    let l = low;
    if (selection > 0) {
      // Minus the selection, as 64 bits: nearly all of them change.
      h = ~h;
      l ^= -selection;
    }
    return remainder(h, l, this.#carry, this.#table.length);
  }
}

function* filled(members: readonly HashMember[], size: number): Sliced<Int32Array> {
  const order = yield* byKey(members);
  const n = order.length;
  const next = new Int32Array(n);
  const skip = new Int32Array(n);
  const shares = new Float64Array(n);
  const hash: Hash64 = { high: 0, low: 0 };
  const carry = 4_294_967_296 % size;
  const carryOfSkip = 4_294_967_296 % (size - 1);
  let largest = 0;
  yield* inParts(n, (from, to) => {
    for (let turn = from; turn < to; turn++) {
      const { key, share } = members[order[turn]!]!;
      xxHash64(key, hash);
      next[turn] = remainder(hash.high, hash.low, carry, size);
      xxHash64(key, hash, 0, 1);
      skip[turn] = remainder(hash.high, hash.low, carryOfSkip, size - 1) + 1;
      shares[turn] = share;
      largest = Math.max(largest, share);
    }
  });
  const table = new Int32Array(size).fill(-1);
  const target = new Float64Array(n);
  let left = size;
  let round = 1;
  let turn = 0;
  const some = (): void => {
    for (let looks = 0; looks < looksASlice && left > 0; looks++) {
      // The largest takes an entry every round, one of a third of its weight every third.
      if (round * shares[turn]! >= target[turn]!) {
        target[turn] = target[turn]! + largest;
        const step = skip[turn]!;
        let at = next[turn]!;
        // The first free entry from there on.
        for (; table[at] !== -1; looks++) {
          at += step;
          if (at >= size) at -= size;
        }
        table[at] = order[turn]!;
        at += step;
        next[turn] = at >= size ? at - size : at;
        left--;
      }
      if (++turn < n) continue;
      turn = 0;
      round++;
    }
  };
  for (some(); left > 0; some()) yield undefined;
  return table;
}

/** Turns go by the order of the keys: the order in which endpoints were told must not matter. */
function* byKey(members: readonly HashMember[]): Sliced<Int32Array> {
  const n = members.length;
  const before = (a: number, b: number): boolean => members[a]!.key < members[b]!.key;
  let order = Int32Array.from(members.keys());
  for (let from = 0; from < n; from += sortedAtOnce) {
    order.subarray(from, from + sortedAtOnce).sort((a, b) => (before(a, b) ? -1 : before(b, a) ? 1 : 0));
    yield undefined;
  }
  for (let width = sortedAtOnce; width < n; width *= 2) {
    const runs = order;
    const merged = new Int32Array(n);
    let left = 0;
    let right = 0;
    let middle = 0;
    let end = 0;
    yield* inParts(n, (from, to) => {
      for (let at = from; at < to; at++) {
        if (at === end) {
          left = at;
          right = middle = Math.min(at + width, n);
          end = Math.min(at + 2 * width, n);
        }
        const next = left === middle || (right < end && before(runs[right]!, runs[left]!)) ? right++ : left++;
        merged[at] = runs[next]!;
      }
    });
    order = merged;
  }
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
