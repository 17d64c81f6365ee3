/**
 * Keeps what was made from equal inputs, from one build to the next: then identity tells whether something changed.
 * What a build does not ask for is forgotten after it.
 */
export class Reuse {
  #last = new Map<string, Kept>();
  #next = new Map<string, Kept>();

  /** The value made under this key before if the inputs are the very same ones, else a new one. */
  of<I, T>(key: string, inputs: readonly I[], make: (inputs: readonly I[]) => T): T {
    const kept = this.#last.get(key);
    const value = kept !== undefined && sameItems(kept.inputs, inputs) ? (kept.value as T) : make(inputs);
    this.#next.set(key, { inputs, value });
    return value;
  }

  /** The same list as before if its items are. */
  list<T>(key: string, items: readonly T[]): readonly T[] {
    return this.of(key, items, (same) => same);
  }

  /** After a build. */
  turn(): void {
    this.#last = this.#next;
    this.#next = new Map();
  }
}

interface Kept {
  readonly inputs: readonly unknown[];
  readonly value: unknown;
}

export function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
