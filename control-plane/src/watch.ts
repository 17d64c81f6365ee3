/**
 * A value that changes as a whole, and those who want to hear of it. No queue: a listener that was busy sees the newest
 * value only, which is all that configuration needs.
 */
export class Watch<T> {
  #value: T;
  readonly #listeners = new Set<{ readonly fn: (value: T) => void }>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Tells everyone, unless it is the very value that is there already. */
  set(value: T): void {
    if (value === this.#value) return;
    this.#value = value;
    const present = [...this.#listeners];
    for (const listener of present) {
      // Left while the others were being told: it wants to hear no more.
      if (this.#listeners.has(listener)) listener.fn(value);
    }
  }

  /** The return value ends it; calling that twice is harmless. */
  subscribe(fn: (value: T) => void): () => void {
    const listener = { fn };
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
