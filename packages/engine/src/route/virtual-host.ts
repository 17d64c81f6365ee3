import { asciiLower } from "../match/ascii.ts";

/** Finds what serves an authority; `undefined` when nobody does. */
export type HostFinder<T> = (authority: string) => T | undefined;

/**
 * Indexes virtual hosts by their domains (R28): exact, then the longest suffix `*x`, then the longest prefix `x*`, then `*`.
 * Case does not count, a port is part of the name, and a wildcard stands for at least one character. A thousand
 * exact names cost one look-up; wildcards cost one more for each length in which they occur, however many they are.
 * Of two equal domains the first holds.
 */
export function compileHosts<T>(
  hosts: readonly { readonly domains: readonly string[]; readonly value: T }[],
): HostFinder<T> {
  const exact = new Map<string, T>();
  const suffixes = new Affixes<T>();
  const prefixes = new Affixes<T>();
  let any: { readonly value: T } | undefined;
  for (const { domains, value } of hosts) {
    for (const written of domains) {
      const domain = asciiLower(written);
      if (domain === "*") any ??= { value };
      else if (domain.startsWith("*")) suffixes.add(domain.slice(1), value);
      else if (domain.endsWith("*")) prefixes.add(domain.slice(0, -1), value);
      else if (!exact.has(domain)) exact.set(domain, value);
    }
  }

  // Servers have one host for everyone.
  if (exact.size === 0 && suffixes.empty && prefixes.empty) return () => any?.value;
  const find: HostFinder<T> = (authority) => {
    // Adapters hand in lower case, so the first look-up nearly always decides.
    const direct = exact.get(authority);
    if (direct !== undefined) return direct;
    const name = asciiLower(authority);
    return (
      (name === authority ? undefined : exact.get(name)) ??
      suffixes.longest(name, (length) => name.slice(name.length - length)) ??
      prefixes.longest(name, (length) => name.slice(0, length)) ??
      any?.value
    );
  };
  // A client's listener stands for one service, and a server's callers agree on its name: nearly always the same as before.
  let last = "";
  let found = find(last);
  return (authority) => {
    if (authority !== last) {
      found = find(authority);
      last = authority;
    }
    return found;
  };
}

/** The authority up to the colon before its port; the colons of an IPv6 address stand in brackets. */
export function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(":");
  return colon < 0 || authority.includes("]", colon) ? authority : authority.slice(0, colon);
}

/** Literals by length, the longest first. */
class Affixes<T> {
  readonly #byLength = new Map<number, Map<string, T>>();
  #lengths: readonly number[] = [];

  add(literal: string, value: T): void {
    let same = this.#byLength.get(literal.length);
    if (same === undefined) {
      this.#byLength.set(literal.length, (same = new Map()));
      this.#lengths = [...this.#byLength.keys()].sort((a, b) => b - a);
    }
    if (!same.has(literal)) same.set(literal, value);
  }

  get empty(): boolean {
    return this.#lengths.length === 0;
  }

  longest(name: string, cut: (length: number) => string): T | undefined {
    for (const length of this.#lengths) {
      if (length >= name.length) continue;
      const found = this.#byLength.get(length)!.get(cut(length));
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
