import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StringMatcherSchema } from "@trama/proto/envoy/type/matcher/v3/string_pb.js";

import type { Chance } from "../chance.ts";
import { regexFrom } from "./regexes.ts";

export type StringInit = Exclude<MessageInitShape<typeof StringMatcherSchema>, { $typeName: string }>;

/** Where a matcher's texts come from: a typical value of what it is compared with. */
export type Sample = (chance: Chance) => string;

/** Any StringMatcher over a part of a sample: exact, prefix, suffix, contains (each also without letter case), or a regex. */
export function stringMatcher(chance: Chance, sample: Sample): StringInit {
  const text = sample(chance);
  const ignoreCase = chance.maybe(0.2);
  const written = ignoreCase ? chance.mixCase(text) : text;
  const at = chance.int(0, Math.max(0, written.length - 1));
  // An empty prefix, suffix or part is refused by the API's own rules.
  const part = (value: string): string => (value === "" ? "a" : value);
  return chance.either<StringInit>(
    () => ({ ignoreCase, matchPattern: { case: "exact", value: written } }),
    () => ({ ignoreCase, matchPattern: { case: "prefix", value: part(written.slice(0, at + 1)) } }),
    () => ({ ignoreCase, matchPattern: { case: "suffix", value: part(written.slice(at)) } }),
    () => ({ ignoreCase, matchPattern: { case: "contains", value: part(written.slice(at, at + chance.int(1, 3))) } }),
    () => ({ matchPattern: { case: "safeRegex", value: { regex: regexFrom(chance, text, sample) } } }),
  );
}
