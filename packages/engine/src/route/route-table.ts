import type { Call } from "../call.ts";
import type { RouteMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { compileRouteMatch } from "../match/route-match.ts";
import type { RouteTest } from "../match/route-match.ts";

/** Finds the first route that takes a call. `path` is the call's path without query. */
export type RouteFinder<T> = (call: Call, path: string) => T | undefined;

/**
 * The routes of one virtual host, first match wins (R30). Routes on one exact path are found by that path; only the others
 * are tried in turn, and a candidate from the index wins or loses against them by its position, as if all had been tried.
 */
export function compileRouteTable<T>(
  routes: readonly { readonly match: RouteMatch; readonly value: T }[],
  env: Pick<Env, "regex" | "random">,
): RouteFinder<T> {
  const exact = new Map<string, Entry<T>[]>();
  const others: Entry<T>[] = [];
  for (const [order, { match, value }] of routes.entries()) {
    const entry = { order, test: compileRouteMatch(match, env), value };
    const { path } = match;
    if (path.kind !== "exact" || path.ignoreCase) others.push(entry);
    else if (exact.has(path.value)) exact.get(path.value)!.push(entry);
    else exact.set(path.value, [entry]);
  }
  if (exact.size === 0) return (call, path) => first(others, call, path, Infinity)?.value;
  return (call, path) => {
    const same = exact.get(path);
    const candidate = same === undefined ? undefined : first(same, call, path, Infinity);
    return (first(others, call, path, candidate?.order ?? Infinity) ?? candidate)?.value;
  };
}

interface Entry<T> {
  readonly order: number;
  readonly test: RouteTest;
  readonly value: T;
}

/** The first of a list in order that stands before `limit` and takes the call. */
function first<T>(entries: readonly Entry<T>[], call: Call, path: string, limit: number): Entry<T> | undefined {
  for (const entry of entries) {
    if (entry.order >= limit) return undefined;
    if (entry.test(call, path)) return entry;
  }
  return undefined;
}
