import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteMatchSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import type { Chance } from "../chance.ts";
import { regexFrom } from "./regexes.ts";
import { path } from "./words.ts";

type RouteMatchInit = Exclude<MessageInitShape<typeof RouteMatchSchema>, { $typeName: string }>;
export type PathInit = Pick<RouteMatchInit, "pathSpecifier" | "caseSensitive">;

/** The path part of a route: prefix, exact, whole segments, regex; with and without letter case. */
export function pathMatcher(chance: Chance): PathInit {
  const text = path(chance);
  const cut = text.slice(0, chance.int(1, text.length));
  const fold = chance.maybe(0.2);
  const write = (value: string): string => (fold ? chance.mixCase(value) : value);
  const caseSensitive = fold ? { caseSensitive: false } : {};
  return chance.either<PathInit>(
    () => ({ ...caseSensitive, pathSpecifier: { case: "prefix", value: write(chance.maybe(0.3) ? "/" : cut) } }),
    () => ({ ...caseSensitive, pathSpecifier: { case: "prefix", value: write(text) } }),
    () => ({ ...caseSensitive, pathSpecifier: { case: "path", value: write(text) } }),
    () => ({ ...caseSensitive, pathSpecifier: { case: "pathSeparatedPrefix", value: write(separated(text)) } }),
    () => ({ ...caseSensitive, pathSpecifier: { case: "safeRegex", value: { regex: regexFrom(chance, text, path) } } }),
  );
}

/** The API wants it to begin with a slash and not to end with one. */
function separated(text: string): string {
  const bare = text.replace(/\/+$/, "");
  return bare === "" ? "/a" : bare;
}
