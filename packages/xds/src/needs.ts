/** Names that are needed, and by whom: so that a resource that came leads to those it concerns, and one that nobody needs any more is let go. */
export class Needs {
  readonly #needers = new Map<string, Set<string>>();
  readonly #names = new Map<string, readonly string[]>();

  /** What one needs from now on. Names that are needed by somebody since, or by nobody any more, are added to `moved`. */
  set(who: string, names: readonly string[], moved: Set<string>): void {
    const before = this.#names.get(who) ?? [];
    if (before === names) return;
    const kept = new Set(names);
    for (const name of kept) {
      let needers = this.#needers.get(name);
      if (needers === undefined) {
        this.#needers.set(name, (needers = new Set()));
        moved.add(name);
      }
      needers.add(who);
    }
    for (const name of before) {
      if (kept.has(name)) continue;
      const needers = this.#needers.get(name);
      if (needers?.delete(who) !== true || needers.size > 0) continue;
      this.#needers.delete(name);
      moved.add(name);
    }
    if (names.length === 0) this.#names.delete(who);
    else this.#names.set(who, names);
  }

  has(name: string): boolean {
    return this.#needers.has(name);
  }

  /** Those who need it. */
  of(name: string): Iterable<string> {
    return this.#needers.get(name) ?? [];
  }
}
