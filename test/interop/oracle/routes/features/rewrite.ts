import type { Chance } from "../../chance.ts";
import { host } from "../../grammar/words.ts";
import type { RouteFeature } from "../feature.ts";

const regexes: readonly (readonly [pattern: string, substitution: string])[] = [
  ["^/([^/]*)(/?.*)$", "/first\\2?by=\\1"],
  ["a", "\\0\\0"],
  ["/(v[0-9])", "/\\1-\\1"],
  ["b+|x.y", "B"],
  ["(a)|(b)", "[\\2\\1]"],
  ["", "-"],
  ["[aeiou]", ""],
  ["/+", "/"],
];

export function regexRewrite(chance: Chance): { pattern: { regex: string }; substitution: string } {
  const [regex, substitution] = chance.pick(regexes.filter(([pattern]) => pattern !== ""));
  return { pattern: { regex }, substitution };
}

export function prefixes(chance: Chance): string {
  return chance.pick(["/", "/new", "/new/", "/a/b?c", "/%2f"]);
}

/** Path by prefix or regex; host by text, by a header, per weighted cluster; the old host kept or not. */
export const rewrite: RouteFeature = ({ route }, chance) => {
  const { action } = route;
  if (action?.case !== "route" || !chance.maybe(0.4)) return;
  const { value } = action;
  if (chance.maybe(0.4)) value.prefixRewrite = prefixes(chance);
  else if (chance.maybe(0.5)) value.regexRewrite = regexRewrite(chance);
  if (chance.maybe(0.3)) value.hostRewriteSpecifier = { case: "hostRewriteLiteral", value: host(chance) };
  else if (chance.maybe(0.2)) value.hostRewriteSpecifier = { case: "hostRewriteHeader", value: "x-number" };
  value.appendXForwardedHost = chance.maybe(0.3);
  if (value.clusterSpecifier?.case !== "weightedClusters") return;
  for (const cluster of value.clusterSpecifier.value.clusters ?? [])
    if (chance.maybe(0.3)) cluster.hostRewriteSpecifier = { case: "hostRewriteLiteral", value: host(chance) };
};
