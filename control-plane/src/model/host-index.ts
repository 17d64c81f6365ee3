import { type Visibility, isVisible } from "./visibility.ts";

/** A value under a host name, which may be a wildcard. */
export interface Claim<T> {
  readonly host: string;
  readonly visible: Visibility;
  readonly value: T;
}

/**
 * Things that are found by host name: the exact host before the longest wildcard, and for one host what is meant for the
 * caller's namespace before what is meant for all (istio-api §1.3).
 */
export class HostIndex<T> {
  readonly #exact = new Map<string, Claim<T>[]>();
  /** Longest first. */
  readonly #wildcards: Claim<T>[] = [];

  constructor(claims: Iterable<Claim<T>>) {
    for (const claim of claims) {
      if (claim.host.startsWith("*")) this.#wildcards.push(claim);
      else getOrMake(this.#exact, claim.host, () => []).push(claim);
    }
    this.#wildcards.sort((a, b) => b.host.length - a.host.length || Number(a.visible.all) - Number(b.visible.all));
  }

  find(host: string, namespace: string): T | undefined {
    const claims = this.#exact.get(host) ?? [];
    const claim =
      claims.find(({ visible }) => visible.namespaces.has(namespace)) ??
      claims.find(({ visible }) => visible.all) ??
      this.#wildcards.find((each) => covers(each.host, host) && isVisible(each.visible, namespace));
    return claim?.value;
  }

  /** Everything under this very host name, else what a wildcard says of it, whoever may see it. */
  all(host: string): readonly T[] {
    const claims = this.#exact.get(host) ?? this.#wildcards.filter((each) => covers(each.host, host));
    return claims.map(({ value }) => value);
  }

  /** Everything, the wildcards last. */
  *values(): Iterable<T> {
    for (const claims of this.#exact.values()) for (const { value } of claims) yield value;
    for (const { value } of this.#wildcards) yield value;
  }

  /** Without the wildcards. */
  hosts(): Iterable<string> {
    return this.#exact.keys();
  }

  wildcards(): readonly string[] {
    return this.#wildcards.map(({ host }) => host);
  }
}

/** `*.a.com` covers `x.a.com` and `y.x.a.com`, not `a.com`. */
export function covers(pattern: string, host: string): boolean {
  return pattern === host || (pattern.startsWith("*") && host.endsWith(pattern.slice(1)) && host !== pattern.slice(1));
}

export function getOrMake<K, V>(
  map: { get(key: K): V | undefined; set(key: K, value: V): unknown },
  key: K,
  make: () => V,
): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
