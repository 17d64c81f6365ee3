import type { QueryMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { compileString } from "./string.ts";

/**
 * The first value of a query parameter; empty text for a bare key (`?a`), `undefined` when it is absent. Neither names
 * nor values are percent-decoded, as in Envoy's route matcher: the same policy must give the same route in a sidecar
 * and here, and a decoder would have to choose between readings of `+` and of invalid triplets.
 */
export function queryValue(target: string, name: string): string | undefined {
  let at = target.indexOf("?") + 1;
  if (at === 0) return undefined;
  while (at <= target.length) {
    let end = target.indexOf("&", at);
    if (end < 0) end = target.length;
    if (target.startsWith(name, at) && at + name.length <= end) {
      const next = at + name.length;
      if (next === end) return "";
      if (target.charCodeAt(next) === EQUALS) return target.slice(next + 1, end);
    }
    at = end + 1;
  }
  return undefined;
}

/** Compiles one query condition into a test of the whole request target. */
export function compileQuery(match: QueryMatch, env: Pick<Env, "regex">): (target: string) => boolean {
  const { name } = match;
  if (match.match === undefined) return (target) => queryValue(target, name) !== undefined;
  const test = compileString(match.match, env.regex);
  return (target) => {
    const value = queryValue(target, name);
    return value !== undefined && test(value);
  };
}

const EQUALS = 0x3d;
