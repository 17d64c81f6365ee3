/**
 * The header fields of one request or response, in order, duplicates kept.
 *
 * This is the only way the engine reads headers: names are compared without case, a value that came
 * twice stays two values, and a lookup can never reach an object's prototype. Joined values (`a, b`)
 * are what attackers hide behind, so nothing here joins unless asked to ({@link HeaderList.joined}).
 *
 * Built lazily: an adapter wraps what its framework already has (a flat `[name, value, …]` array or a
 * record), and as long as nobody changes anything the same object is handed on, without a copy.
 */
export type HeaderRecord = Readonly<Record<string, string | readonly string[] | undefined>>;

const EMPTY: readonly string[] = [];

export class HeaderList {
  #flat: string[] | undefined;
  #record: HeaderRecord | undefined;
  /** True while `#flat` may be somebody else's array: it is copied before the first write. */
  #shared: boolean;

  private constructor(flat: string[] | undefined, record: HeaderRecord | undefined, shared: boolean) {
    this.#flat = flat;
    this.#record = record;
    this.#shared = shared;
  }

  /** An empty list. */
  static empty(): HeaderList {
    return new HeaderList([], undefined, false);
  }

  /** Wraps a flat `[name, value, name, value, …]` array. The array is not copied until a write, and never changed. */
  static ofFlat(flat: readonly string[]): HeaderList {
    return new HeaderList(flat as string[], undefined, true);
  }

  /** Wraps a record as `node:http` and undici give it. It is not changed; it is copied on the first read by name. */
  static ofRecord(record: HeaderRecord): HeaderList {
    return new HeaderList(undefined, record, true);
  }

  /** The first value, or `undefined` when the field is absent. Absent and empty differ. */
  get(name: string): string | undefined {
    const flat = this.flat();
    for (let i = 0; i < flat.length; i += 2) if (sameName(flat[i]!, name)) return flat[i + 1];
    return undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** Every value of the field, in order; an empty array when absent. */
  all(name: string): readonly string[] {
    const flat = this.flat();
    let found: string[] | undefined;
    for (let i = 0; i < flat.length; i += 2) if (sameName(flat[i]!, name)) (found ??= []).push(flat[i + 1]!);
    return found ?? EMPTY;
  }

  /** All values joined by a comma, the form in which xDS header matchers compare them (R31). */
  joined(name: string): string | undefined {
    const values = this.all(name);
    return values.length === 0 ? undefined : values.length === 1 ? values[0] : values.join(",");
  }

  /** Replaces every value of the field by one. */
  set(name: string, value: string): void {
    const flat = this.#writable();
    let at = -1;
    for (let i = 0; i < flat.length; i += 2) {
      if (!sameName(flat[i]!, name)) continue;
      if (at < 0) {
        at = i;
        flat[i + 1] = value;
      } else {
        flat.splice(i, 2);
        i -= 2;
      }
    }
    if (at < 0) flat.push(name, value);
  }

  /** Adds a value behind those that are there. */
  append(name: string, value: string): void {
    this.#writable().push(name, value);
  }

  /** Removes every value of the field; says whether there was one. */
  remove(name: string): boolean {
    if (!this.has(name)) return false;
    const flat = this.#writable();
    for (let i = flat.length - 2; i >= 0; i -= 2) if (sameName(flat[i]!, name)) flat.splice(i, 2);
    return true;
  }

  /** A list that starts equal and can be changed without changing this one: what each attempt of a retried call gets. */
  clone(): HeaderList {
    if (this.#record !== undefined && this.#flat === undefined) return new HeaderList(undefined, this.#record, true);
    this.#shared = true;
    return new HeaderList(this.#flat, undefined, true);
  }

  /** The flat `[name, value, …]` form. Read only: it may be the caller's own array. */
  flat(): readonly string[] {
    return (this.#flat ??= flatten(this.#record!));
  }

  /**
   * The record form with lower-case names, duplicates as arrays. The very record that {@link ofRecord}
   * was given when nothing was written, so that a response passes through without a copy.
   */
  record(): HeaderRecord {
    if (this.#record !== undefined) return this.#record;
    const flat = this.flat();
    const record: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
    for (let i = 0; i < flat.length; i += 2) {
      const name = flat[i]!.toLowerCase();
      const before = record[name];
      if (before === undefined) record[name] = flat[i + 1]!;
      else if (typeof before === "string") record[name] = [before, flat[i + 1]!];
      else before.push(flat[i + 1]!);
    }
    return record;
  }

  #writable(): string[] {
    let flat = this.#flat ?? flatten(this.#record!);
    if (this.#shared && this.#flat !== undefined) flat = flat.slice();
    this.#shared = false;
    this.#record = undefined;
    return (this.#flat = flat);
  }
}

function flatten(record: HeaderRecord): string[] {
  const flat: string[] = [];
  for (const name of Object.keys(record)) {
    const value = record[name];
    if (value === undefined) continue;
    if (typeof value === "string") flat.push(name, value);
    else for (const one of value) flat.push(name, one);
  }
  return flat;
}

/** Equal without ASCII case. Length first: that settles nearly every comparison. */
function sameName(a: string, b: string): boolean {
  return a.length === b.length && (a === b || a.toLowerCase() === b.toLowerCase());
}
