import { seededRandom } from "../../kit/random.ts";

/** The dice of one generated case. Everything random comes from here, so a seed reproduces the case. */
export class Chance {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** From `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  /** True in `share` of all cases. */
  maybe(share = 0.5): boolean {
    return this.random() < share;
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!;
  }

  /** One of several ways to go on; each is a function, so only the chosen one rolls on. */
  either<T>(...ways: readonly (() => T)[]): T {
    return this.pick(ways)();
  }

  list<T>(low: number, high: number, make: (at: number) => T): T[] {
    return Array.from({ length: this.int(low, high) }, (_, at) => make(at));
  }

  /** Different ones, in random order. */
  some<T>(count: number, from: readonly T[]): T[] {
    const left = [...from];
    return Array.from({ length: Math.min(count, left.length) }, () => left.splice(this.int(0, left.length - 1), 1)[0]!);
  }

  /** The same text with some of its letters in the other case. */
  mixCase(text: string): string {
    return text.replace(/[a-zA-Z]/g, (letter) => {
      if (!this.maybe(0.3)) return letter;
      return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
    });
  }
}

/** The seed of the n-th case of a run: far from its neighbours, and the same whatever else the run does. */
export function caseSeed(seed: number, at: number): number {
  return (Math.imul(seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca6b)) >>> 0;
}
