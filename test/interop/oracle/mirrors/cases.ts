import type { Chance } from "../chance.ts";
import { requestHeaders } from "../grammar/headers.ts";
import { mutations } from "../grammar/mutations.ts";
import { bytesOf, methods, path } from "../grammar/words.ts";
import type { WireRequest } from "../http1.ts";
import type { RouteInit } from "../routes/feature.ts";
import { rewrite } from "../routes/features/rewrite.ts";

/** Names the request; its copies carry it as well. */
export const numberField = "x-number";
export const main = "main";
export const shadows: readonly string[] = ["shadow-0", "shadow-1", "shadow-2"];

const hosts = ["a", "a.b", "A.b:8080", "reviews.default.svc:9080", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080"];

export interface MirrorCase {
  readonly route: RouteInit;
  readonly requests: readonly WireRequest[];
}

type Policies = NonNullable<
  Extract<NonNullable<RouteInit["action"]>, { case: "route" }>["value"]["requestMirrorPolicies"]
>;

/** All or none of the requests, so that there is something to compare; what lies between is in `shares`. */
function policies(chance: Chance): Policies {
  return chance.some(chance.int(1, 3), shadows).map((cluster) => ({
    cluster,
    ...(chance.maybe() && { runtimeFraction: { defaultValue: { numerator: chance.maybe(0.7) ? 100 : 0 } } }),
    ...(chance.maybe(0.3) && { disableShadowHostSuffixAppend: true }),
  }));
}

export function mirrorCase(chance: Chance, at: number, requests: number): MirrorCase {
  const prefix = `/case-${at}`;
  const route: RouteInit = {
    name: `case-${at}`,
    match: { pathSpecifier: { case: "prefix", value: `${prefix}/` } },
    action: {
      case: "route",
      value: { clusterSpecifier: { case: "cluster", value: main }, requestMirrorPolicies: policies(chance) },
    },
    ...(chance.maybe() && mutations(chance)),
  };
  rewrite({ route, match: {} }, chance);
  return {
    route,
    requests: Array.from({ length: requests }, (_, number) => ({
      method: chance.pick(methods.filter((method) => method !== "CONNECT")),
      target: prefix + path(chance),
      host: chance.pick(hosts),
      headers: [
        [numberField, `${at}.${number}`] as const,
        ...requestHeaders(chance)
          .filter(([name]) => name.toLowerCase() !== numberField)
          .map(([name, value]) => [name, bytesOf(value)] as const),
      ],
    })),
  };
}

/** A share of the requests, to be compared as a number. */
export function shareCase(percent: number): RouteInit {
  const numerator = percent * 100;
  return {
    name: `share-${percent}`,
    match: { pathSpecifier: { case: "prefix", value: `/share-${percent}/` } },
    action: {
      case: "route",
      value: {
        clusterSpecifier: { case: "cluster", value: main },
        requestMirrorPolicies: [
          { cluster: shadows[0]!, runtimeFraction: { defaultValue: { numerator, denominator: 1 } } },
        ],
      },
    },
  };
}
