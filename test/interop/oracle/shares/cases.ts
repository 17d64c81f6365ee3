import { FractionalPercent_DenominatorType } from "@trama/proto/envoy/type/v3/percent_pb.js";

import { duration } from "../../../kit/xds-resources.ts";
import type { Chance } from "../chance.ts";
import type { RouteInit } from "../routes/feature.ts";
import { clusters } from "../routes/features/action.ts";

/** Routes whose outcome is chance, and how often each outcome must come. */
export interface ShareCase {
  readonly name: string;
  readonly path: string;
  readonly routes: readonly RouteInit[];
  /** By `route cluster`. A share of 0 must not come at all. */
  readonly expected: ReadonlyMap<string, number>;
}

/** A new kind of chance in routing is a new function here. */
export const shareCases: readonly ((chance: Chance, at: number) => ShareCase)[] = [weights, fraction];

/** Weights need not sum up to 100, and 0 among them is legal (R35). */
function weights(chance: Chance, at: number): ShareCase {
  const path = `/weights-${at}/`;
  // Within 1:20, so that each outcome is expected often enough for the test to say something.
  const unit = chance.pick([1, 7, 1_000]);
  const entries = chance.some(chance.int(2, 4), clusters).map((name, index) => ({
    name,
    weight: index > 1 && chance.maybe(0.3) ? 0 : unit * chance.int(1, chance.pick([3, 20])),
  }));
  const route = `weights-${at}`;
  return {
    name: `${route} of ${entries.map(({ weight }) => weight).join(":")}`,
    path,
    routes: [{ ...to(path, { case: "weightedClusters", value: { clusters: entries } }), name: route }],
    expected: new Map(entries.map(({ name, weight }) => [`${route} ${name}`, weight])),
  };
}

/** A share of the requests takes the first route, the rest the next one (R32). */
function fraction(chance: Chance, at: number): ShareCase {
  const path = `/fraction-${at}/`;
  const { HUNDRED, TEN_THOUSAND, MILLION } = FractionalPercent_DenominatorType;
  const [denominator, whole] = chance.pick([
    [HUNDRED, 100],
    [TEN_THOUSAND, 10_000],
    [MILLION, 1_000_000],
  ] as const);
  const numerator = chance.int(Math.ceil(whole / 10), whole - 1);
  const some = to(path, { case: "cluster", value: "c0" });
  const first = {
    ...some,
    name: `some-${at}`,
    match: { ...some.match, runtimeFraction: { defaultValue: { numerator, denominator } } },
  };
  const rest = { ...to(path, { case: "cluster", value: "c1" }), name: `rest-${at}` };
  return {
    name: `fraction ${numerator} of ${whole}`,
    path,
    routes: [first as RouteInit, rest],
    expected: new Map([
      [`some-${at} c0`, numerator],
      [`rest-${at} c1`, whole - numerator],
    ]),
  };
}

type Specifier = NonNullable<Extract<NonNullable<RouteInit["action"]>, { case: "route" }>["value"]["clusterSpecifier"]>;

function to(prefix: string, clusterSpecifier: Specifier): RouteInit & { match: object } {
  return {
    match: { pathSpecifier: { case: "prefix", value: prefix } },
    action: { case: "route", value: { clusterSpecifier, timeout: duration(0) } },
  };
}
