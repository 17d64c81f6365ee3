import { inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { Dice } from "../dice.ts";

/**
 * Earliest deadline first: the schedule behind every weighted rotation. Each index has a deadline; the earliest is
 * taken and put back `1 / weight` later, so that in the long run each is taken in proportion to its weight, and in the
 * short run as evenly as can be. The weight is given anew with each turn, so it may follow the load.
 *
 * A binary heap in two typed arrays: a turn costs O(log n) and allocates nothing.
 */
export class EdfSchedule {
  readonly #heap: Uint32Array;
  readonly #deadline: Float64Array;

  private constructor(n: number) {
    this.#heap = new Uint32Array(n);
    this.#deadline = new Float64Array(n);
  }

  /**
   * Starts each index at a random point of its own period: many processes that got the same endpoints at the same
   * moment must not all begin with the same one.
   */
  static *of(weights: ArrayLike<number>, dice: Dice): Sliced<EdfSchedule> {
    const n = weights.length;
    const schedule = new EdfSchedule(n);
    const heap = schedule.#heap;
    const deadline = schedule.#deadline;
    yield* inParts(n, (from, to) => {
      for (let i = from; i < to; i++) {
        heap[i] = i;
        deadline[i] = (dice.next() >>> 0) / 4_294_967_296 / weights[i]!;
      }
    });
    const parents = n >> 1;
    yield* inParts(parents, (from, to) => {
      for (let i = from; i < to; i++) schedule.#sink(parents - 1 - i);
    });
    return schedule;
  }

  /** The index whose turn it is. */
  first(): number {
    return this.#heap[0]!;
  }

  /** Ends the turn of {@link first}: its next one comes after `1 / weight`. */
  advance(weight: number): void {
    const first = this.#heap[0]!;
    this.#deadline[first] = this.#deadline[first]! + 1 / weight;
    this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const deadline = this.#deadline;
    const n = heap.length;
    const moved = heap[from]!;
    const due = deadline[moved]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= n) break;
      if (child + 1 < n && deadline[heap[child + 1]!]! < deadline[heap[child]!]!) child++;
      if (deadline[heap[child]!]! >= due) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moved;
  }
}
