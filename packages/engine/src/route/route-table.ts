import type { Call } from "../call.ts";
import type { PathMatch, RouteMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { compileConditions, compileRouteMatch } from "../match/route-match.ts";
import type { RouteTest } from "../match/route-match.ts";
import { PrefixIndex } from "./prefix-index.ts";

/** Finds the first route that takes a call. `path` is the call's path without query. */
export type RouteFinder<T> = (call: Call, path: string) => T | undefined;

/**
 * The routes of one virtual host; the first that matches wins (R30). They are not tried in turn: exact paths are found by
 * the path, prefixes by {@link PrefixIndex}, and only the rest (regexes, paths without letter case) one after the other.
 * Each candidate carries its position, and one that stands behind the best so far is not even asked, so the answer is
 * that of the plain list.
 */
export function compileRouteTable<T>(
  routes: readonly { readonly match: RouteMatch; readonly value: T }[],
  env: Pick<Env, "regex" | "random">,
): RouteFinder<T> {
  if (routes.length === 1) {
    // What a server has, nearly always: there is nothing to choose from.
    const [{ match, value }] = routes as [(typeof routes)[0]];
    const test = compileRouteMatch(match, env);
    return (call, path) => (test(call, path) ? value : undefined);
  }
  const exact = new Map<string, Entry<T>[]>();
  const prefixed: { literal: string; entry: Entry<T> }[] = [];
  const others: Entry<T>[] = [];
  for (const [order, { match, value }] of routes.entries()) {
    const { path } = match;
    const literal = literalOf(path);
    // The index has compared the path already, but for the border of a segment.
    const test =
      literal === undefined || path.kind === "segments" ? compileRouteMatch(match, env) : compileConditions(match, env);
    const entry: Entry<T> = { order, test, value };
    if (literal === undefined) others.push(entry);
    else if (path.kind !== "exact") prefixed.push({ literal, entry });
    else if (exact.has(literal)) exact.get(literal)!.push(entry);
    else exact.set(literal, [entry]);
  }
  const prefixes = new PrefixIndex(prefixed);
  return (call, path) => {
    let best = exact.size === 0 ? undefined : first(exact.get(path), call, path, undefined);
    for (let node = prefixes.longest(path); node !== undefined; node = node.parent)
      best = first(node.entries, call, path, best);
    return first(others, call, path, best)?.value;
  };
}

interface Entry<T> {
  readonly order: number;
  readonly test: RouteTest | undefined;
  readonly value: T;
}

/** The text that decides about a path by plain comparison, if there is one. */
function literalOf(path: PathMatch): string | undefined {
  if (path.kind === "regex" || path.ignoreCase) return undefined;
  return path.kind === "segments" && path.value.endsWith("/") ? path.value.slice(0, -1) : path.value;
}

/** The first entry that takes the call and stands before `best`; else `best`. */
function first<T>(
  entries: readonly Entry<T>[] | undefined,
  call: Call,
  path: string,
  best: Entry<T> | undefined,
): Entry<T> | undefined {
  if (entries === undefined) return best;
  for (const entry of entries) {
    if (best !== undefined && entry.order > best.order) return best;
    if (entry.test === undefined || entry.test(call, path)) return entry;
  }
  return best;
}
