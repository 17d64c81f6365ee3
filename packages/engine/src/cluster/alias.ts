import type { Dice } from "./dice.ts";

/**
 * Vose's alias table: an index drawn in proportion to its weight, in constant time and without allocation, however many
 * weights there are and however unequal.
 */
export class AliasTable {
  readonly #keep: Float64Array;
  readonly #other: Uint32Array;

  constructor(weights: ArrayLike<number>) {
    const n = weights.length;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += weights[i]!;
    const keep = new Float64Array(n);
    const other = new Uint32Array(n);
    // Indexes below and above the mean share one array, from both of its ends.
    const work = new Uint32Array(n);
    let small = 0;
    let large = n;
    for (let i = 0; i < n; i++) {
      keep[i] = (weights[i]! * n) / sum;
      other[i] = i;
      if (keep[i]! < 1) work[small++] = i;
      else work[--large] = i;
    }
    while (small > 0 && large < n) {
      const low = work[--small]!;
      const high = work[large]!;
      other[low] = high;
      keep[high] = keep[high]! - (1 - keep[low]!);
      if (keep[high]! < 1) {
        large++;
        work[small++] = high;
      }
    }
    // What is left differs from 1 only by rounding.
    while (small > 0) keep[work[--small]!] = 1;
    for (; large < n; large++) keep[work[large]!] = 1;
    this.#keep = keep;
    this.#other = other;
  }

  draw(dice: Dice): number {
    const column = dice.below(this.#keep.length);
    return (dice.next() >>> 0) / 4_294_967_296 < this.#keep[column]! ? column : this.#other[column]!;
  }
}
