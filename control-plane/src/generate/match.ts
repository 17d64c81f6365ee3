import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HeaderMatcherSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { StringMatcherSchema } from "@trama/proto/envoy/type/matcher/v3/string_pb.js";

import type { TextMatch } from "../sources/istio/values.ts";

export type StringMatcher = MessageInitShape<typeof StringMatcherSchema>;
export type HeaderMatcher = MessageInitShape<typeof HeaderMatcherSchema>;

export function stringMatcher(match: Exclude<TextMatch, { kind: "present" }>): StringMatcher {
  switch (match.kind) {
    case "exact":
      return exact(match.value);
    case "prefix":
      return { matchPattern: { case: "prefix", value: match.value } };
    case "regex":
      return regex(match.value);
  }
}

export function exact(value: string): StringMatcher {
  return { matchPattern: { case: "exact", value } };
}

/** RE2, whole text. */
export function regex(value: string): StringMatcher {
  return { matchPattern: { case: "safeRegex", value: { regex: value } } };
}

/** Istio's forms in policies: `a`, `a*`, `*a`, and `*` for anything that is not empty (istio-api §11.2). */
export function patternMatcher(pattern: string, before = ""): StringMatcher {
  if (pattern === "*") return before === "" ? regex(".+") : { matchPattern: { case: "prefix", value: before } };
  if (pattern.endsWith("*")) return { matchPattern: { case: "prefix", value: before + pattern.slice(0, -1) } };
  if (pattern.startsWith("*")) return { matchPattern: { case: "suffix", value: pattern.slice(1) } };
  return exact(before + pattern);
}

export function headerMatcher(name: string, match: TextMatch): HeaderMatcher {
  return match.kind === "present"
    ? { name, headerMatchSpecifier: { case: "presentMatch", value: true } }
    : { name, headerMatchSpecifier: { case: "stringMatch", value: stringMatcher(match) } };
}

/**
 * A missing header is compared as empty text, so that a pattern which accepts it excludes such requests too; `{}` means
 * that the header must be absent (istio-api §2.3).
 */
export function negatedHeaderMatcher(name: string, match: TextMatch): HeaderMatcher {
  const matcher = { ...headerMatcher(name, match), invertMatch: true };
  return match.kind === "present" ? matcher : { ...matcher, treatMissingHeaderAsEmpty: true };
}

/** Text from names and rules inside a regex: a dot is a dot (istio-api §11.1, dataplane §25 row 24). */
export function escapeRegex(text: string): string {
  return text.replaceAll(/[\\^$.|?*+()[\]{}]/g, String.raw`\$&`);
}
