import type { Hash64 } from "../../hash/xxhash64.ts";
import { xxHash64Of } from "../../hash/xxhash64.ts";
import { inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { HashMember, HashTable } from "./hash-table.ts";

/** Some tenths of a millisecond. */
const hashesASlice = 256;

/**
 * A ring of 2^64 places (ketama). Each endpoint has points on it, at the hashes of `address_0`, `address_1`, …; a key belongs to the
 * first point from its own hash on. When an endpoint goes, its keys go to whoever has the next points, and no others move, as long
 * as the others keep their number of points; that depends on the shares, as in Envoy, whose ring this is to the point.
 *
 * Points are kept sorted in typed arrays: a look-up is a binary search and allocates nothing.
 */
export class Ring implements HashTable {
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #owner: Uint32Array;

  private constructor(high: Uint32Array, low: Uint32Array, owner: Uint32Array) {
    this.#high = high;
    this.#low = low;
    this.#owner = owner;
  }

  static *of(members: readonly HashMember[], minSize: number, maxSize: number): Sliced<Ring> {
    let least = 1;
    yield* inParts(members.length, (from, to) => {
      for (let index = from; index < to; index++) least = Math.min(least, members[index]!.share);
    });
    // The smallest member gets a whole number of points; others might not, which the running sums below take care of.
    const scale = Math.min(Math.ceil(least * minSize) / least, maxSize);
    // Sums of fractions may come out a little above what they should.
    const capacity = Math.ceil(scale) + members.length;
    const high = new Uint32Array(capacity);
    const low = new Uint32Array(capacity);
    const owner = new Uint32Array(capacity);
    const hash: Hash64 = { high: 0, low: 0 };
    let bytes = new Uint8Array(64);
    let size = 0;
    let target = 0;
    for (let index = 0; index < members.length; index++) {
      const { key, share } = members[index]!;
      target += scale * share;
      if (size >= target) continue;
      // Written once a member, and then only the digits behind it.
      if (bytes.length < key.length + 12) bytes = new Uint8Array(key.length + 64);
      for (let i = 0; i < key.length; i++) bytes[i] = key.charCodeAt(i);
      bytes[key.length] = 0x5f; // _
      for (let i = 0; size < target; i++) {
        xxHash64Of(bytes, digits(bytes, key.length + 1, i), hash);
        high[size] = hash.high;
        low[size] = hash.low;
        owner[size++] = index;
        if (size % hashesASlice === 0) yield undefined;
      }
    }
    const order = yield* sorted(high, low, size);
    return new Ring(yield* ordered(high, order), yield* ordered(low, order), yield* ordered(owner, order));
  }

  get size(): number {
    return this.#owner.length;
  }

  /** Passing over is what a ring without their points would do, as long as the others keep their number of points. */
  at(high: number, low: number, selection: number, takes?: (index: number) => boolean): number {
    const highs = this.#high;
    const lows = this.#low;
    const size = highs.length;
    const h = high >>> 0;
    const l = low >>> 0;
    let from = 0;
    let to = size;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const at = highs[middle]!;
      if (at < h || (at === h && lows[middle]! < l)) from = middle + 1;
      else to = middle;
    }
    // Behind the last point comes the first one again.
    if (from === size) from = 0;
    if (takes !== undefined) return this.#walk(from, selection, takes);
    return this.#owner[selection === 0 ? from : (from + selection) % size]!;
  }

  /** Point for point, from this one on; `selection` counts those that take traffic. */
  #walk(from: number, selection: number, takes: (index: number) => boolean): number {
    const size = this.#owner.length;
    let left = selection;
    let found = -1;
    for (let at = 0; at < size; at++) {
      const owner = this.#owner[(from + at) % size]!;
      if (!takes(owner)) continue;
      found = owner;
      if (left-- === 0) return owner;
    }
    return found;
  }
}

function* ordered(values: Uint32Array, order: Uint32Array): Sliced<Uint32Array> {
  const result = new Uint32Array(order.length);
  yield* inParts(order.length, (from, to) => {
    for (let i = from; i < to; i++) result[i] = values[order[i]!]!;
  });
  return result;
}

/** Writes a number in decimal; gives where it ends. */
function digits(bytes: Uint8Array, at: number, n: number): number {
  const end = at + (n < 10 ? 1 : n < 100 ? 2 : String(n).length);
  let rest = n;
  for (let to = end - 1; to >= at; to--) {
    const tens = Math.floor(rest / 10);
    bytes[to] = 0x30 + rest - 10 * tens;
    rest = tens;
  }
  return end;
}

/**
 * The order of 64-bit numbers by radix, 16 bits a pass over the high half; that settles all but one in some thousand pairs, and
 * the rest are neighbours. Sorting objects by a comparison would block the event loop for a multiple of the time.
 */
function* sorted(high: Uint32Array, low: Uint32Array, size: number): Sliced<Uint32Array> {
  let order: Uint32Array | undefined;
  for (const shift of [0, 16]) {
    const before = order;
    const next = new Uint32Array(size);
    const starts = new Uint32Array(65_537);
    yield* inParts(size, (from, to) => {
      for (let i = from; i < to; i++) starts[((high[i]! >>> shift) & 0xffff) + 1]!++;
    });
    for (let i = 1; i < 65_537; i++) starts[i] = starts[i]! + starts[i - 1]!;
    yield* inParts(size, (from, to) => {
      for (let i = from; i < to; i++) {
        const at = before === undefined ? i : before[i]!;
        next[starts[(high[at]! >>> shift) & 0xffff]!++] = at;
      }
    });
    order = next;
  }
  const places = order!;
  yield* inParts(size, (from, to) => {
    for (let i = Math.max(from, 1); i < to; i++) {
      const moved = places[i]!;
      let at = i;
      for (; at > 0; at--) {
        const before = places[at - 1]!;
        if (high[before] !== high[moved] || low[before]! <= low[moved]!) break;
        places[at] = before;
      }
      places[at] = moved;
    }
  });
  return places;
}
