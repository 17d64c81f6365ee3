import type { Call } from "../call.ts";
import type { RouteMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { compileHeader } from "./header.ts";
import type { CallTest } from "./header.ts";
import { compilePath } from "./path.ts";
import { compileQuery } from "./query.ts";

/** Whether a route takes a call. `path` is the call's path without query, cut once by the router. */
export type RouteTest = (call: Call, path: string) => boolean;

/** A share of a million, rolled anew each time it is asked (R32). Certain and impossible shares are not rolled. */
export function roll(perMillion: number, random: () => number): boolean {
  return perMillion >= 1_000_000 || (perMillion > 0 && random() * 1_000_000 < perMillion);
}

/** Compiles all conditions of a route, the path first. */
export function compileRouteMatch(match: RouteMatch, env: Pick<Env, "regex" | "random">): RouteTest {
  const path = compilePath(match.path, env.regex);
  const rest = compileConditions(match, env);
  return rest === undefined ? (_call, text) => path(text) : (call, text) => path(text) && rest(call);
}

/**
 * What a route asks besides its path; `undefined` when nothing. Cheapest first: headers, query, and the roll of the dice
 * last, so that only requests which match otherwise use it up. A route with query conditions never takes a gRPC
 * call (R30).
 */
export function compileConditions(match: RouteMatch, env: Pick<Env, "regex" | "random">): CallTest | undefined {
  const tests = match.headers.map((header) => compileHeader(header, env));
  if (match.query.length > 0) tests.unshift((call) => call.protocol !== "grpc");
  for (const query of match.query) {
    const test = compileQuery(query, env);
    tests.push((call) => test(call.path));
  }
  const { fractionPerMillion } = match;
  if (fractionPerMillion !== undefined) tests.push(() => roll(fractionPerMillion, env.random));
  if (tests.length < 2) return tests[0];
  return (call) => {
    for (const test of tests) if (!test(call)) return false;
    return true;
  };
}
