import type { Chance } from "../chance.ts";
import { host } from "./words.ts";

/** Domains of all four classes for `count` virtual hosts; none is there twice, not even in another letter case. */
export function domains(chance: Chance, count: number): string[][] {
  const taken = new Set<string>();
  const one = (): string | undefined => {
    const domain = domainFrom(chance);
    if (taken.has(domain.toLowerCase())) return undefined;
    taken.add(domain.toLowerCase());
    return domain;
  };
  const lists = Array.from({ length: count }, () => chance.list(1, 4, one).filter((each) => each !== undefined));
  // A virtual host needs one; a name that no request asks for does no harm.
  return lists.map((list, at) => (list.length > 0 ? list : [`nobody-${at}.example`]));
}

function domainFrom(chance: Chance): string {
  const name = host(chance);
  const at = chance.int(1, Math.max(1, name.length - 1));
  const domain = chance.either(
    () => name,
    () => name,
    () => `*${name.slice(at)}`,
    () => `${name.slice(0, at)}*`,
    () => (chance.maybe(0.4) ? "*" : `*.${name}`),
  );
  return chance.maybe(0.2) ? chance.mixCase(domain) : domain;
}
