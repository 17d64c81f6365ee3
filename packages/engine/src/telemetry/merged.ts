import type { Labels } from "./labels.ts";

/**
 * Values by the labels that people see. Two groups can have the same: a service by two of its ports, or by two subsets. A scraper would
 * refuse the series that comes twice.
 */
export class Merged<T> {
  readonly #add: (a: T, b: T) => T;
  readonly #found = new Map<string, [Labels, T]>();

  constructor(add: (a: T, b: T) => T) {
    this.#add = add;
  }

  add(labels: Labels, value: T): void {
    const key = Object.values(labels).join("\u0000");
    const before = this.#found.get(key);
    this.#found.set(key, [labels, before === undefined ? value : this.#add(before[1], value)]);
  }

  map<U>(fn: (labels: Labels, value: T) => U): U[] {
    return Array.from(this.#found.values(), ([labels, value]) => fn(labels, value));
  }
}
