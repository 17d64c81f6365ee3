/**
 * The random source of a picker: xorshift32, seeded once from the engine's own. A number from `env.random` is a double
 * on the heap with every call; these are small integers and cost nothing to make, so that a pick allocates nothing.
 * Chance among endpoints needs to be even, not unguessable.
 */
export class Dice {
  #state: number;

  constructor(random: () => number) {
    // Any seed but 0, which xorshift never leaves.
    this.#state = (random() * 4_294_967_295 + 1) | 0 || 1;
  }

  /** Uniform among all 32-bit integers but 0, signed. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.#state = x);
  }

  /** Uniform in 0 … n − 1. */
  below(n: number): number {
    return Math.floor(((this.next() >>> 0) / 4_294_967_296) * n);
  }
}
