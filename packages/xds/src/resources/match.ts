import { type Cidr, type HeaderMatch, type QueryMatch, type StringMatch, parseAddress } from "@trama/engine";
import { FractionalPercent_DenominatorType } from "@trama/proto/lean";
import type { CidrRange } from "@trama/proto/envoy/config/core/v3/address_pb.js";
import type { HeaderMatcher, QueryParameterMatcher } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { RegexMatcher } from "@trama/proto/envoy/type/matcher/v3/regex_pb.js";
import type { StringMatcher } from "@trama/proto/envoy/type/matcher/v3/string_pb.js";
import type { FractionalPercent } from "@trama/proto/envoy/type/v3/percent_pb.js";

import { textOf } from "../errors.ts";
import { ResourceError, unsupported, within } from "./error.ts";
import type { DecodeOptions } from "./type.ts";

/** `custom` and whatever else a newer API brings is refused: a matcher one does not know is never left out (R30, R57). */
export function stringMatch(matcher: StringMatcher, options: DecodeOptions): StringMatch {
  const { matchPattern: pattern, ignoreCase } = matcher;
  switch (pattern.case) {
    case "exact":
      return { kind: "exact", value: pattern.value, ignoreCase };
    case "prefix":
    case "suffix":
    case "contains":
      if (pattern.value === "") throw new ResourceError(`${pattern.case} is empty; name what to look for`);
      return { kind: pattern.case, value: pattern.value, ignoreCase };
    case "safeRegex":
      return { kind: "regex", value: regexOf(pattern.value, options) };
    case "custom":
      return unsupported("custom");
    case undefined:
      throw new ResourceError("the string matcher is empty, or of a kind that this release does not know");
  }
}

/** Compiled once here, so that a pattern which is not RE2 refuses its resource and not a request (R29). */
export function regexOf(matcher: RegexMatcher, options: DecodeOptions): string {
  if (matcher.regex === "") throw new ResourceError("safe_regex is empty");
  try {
    options.regex(matcher.regex);
  } catch (error) {
    throw new ResourceError(`safe_regex ${JSON.stringify(matcher.regex)} is not RE2: ${textOf(error)}`, {
      cause: error,
    });
  }
  return matcher.regex;
}

const pseudoHeaders = new Set([":authority", ":method", ":path", ":scheme"]);

/** `Host` is `:authority` (R56). The older forms (`exact_match` and its like) mean the same as `string_match`. */
export function headerMatch(matcher: HeaderMatcher, options: DecodeOptions): HeaderMatch {
  if (matcher.name === "") throw new ResourceError("name is empty");
  const lower = matcher.name.toLowerCase();
  const name = lower === "host" ? ":authority" : lower;
  if (name.startsWith(":") && !pseudoHeaders.has(name)) unsupported(`a matcher on ${name}`);
  return {
    name,
    test: headerTest(matcher, options),
    invert: matcher.invertMatch,
    missingIsEmpty: matcher.treatMissingHeaderAsEmpty,
  };
}

function headerTest(matcher: HeaderMatcher, options: DecodeOptions): HeaderMatch["test"] {
  const { headerMatchSpecifier: test } = matcher;
  const literal = (kind: "exact" | "prefix" | "suffix" | "contains", value: string): HeaderMatch["test"] => {
    if (kind !== "exact" && value === "") throw new ResourceError(`${kind}_match is empty`);
    return { kind: "string", match: { kind, value, ignoreCase: false } };
  };
  switch (test.case) {
    case "exactMatch":
      // In Envoy the older field with an empty text takes any value; `string_match` is what asks for an empty one.
      if (test.value === "") return { kind: "string", match: { kind: "prefix", value: "", ignoreCase: false } };
      return literal("exact", test.value);
    case "prefixMatch":
      return literal("prefix", test.value);
    case "suffixMatch":
      return literal("suffix", test.value);
    case "containsMatch":
      return literal("contains", test.value);
    case "safeRegexMatch":
      return { kind: "string", match: { kind: "regex", value: regexOf(test.value, options) } };
    case "stringMatch":
      return { kind: "string", match: within("string_match", () => stringMatch(test.value, options)) };
    case "presentMatch":
      return { kind: "present", present: test.value };
    case "rangeMatch": {
      const { start, end } = test.value;
      if (start < BigInt(Number.MIN_SAFE_INTEGER) || end > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw new ResourceError(`range_match is beyond 2^53 (${start} to ${end})`);
      }
      return { kind: "range", start: Number(start), end: Number(end) };
    }
    case undefined:
      // No specifier at all means that the header is there. A kind that we do not know looks like it, so it is refused.
      if (matcher.$unknown !== undefined && matcher.$unknown.length > 0) {
        throw new ResourceError("the header matcher is of a kind that this release does not know");
      }
      return { kind: "present", present: true };
  }
}

export function queryMatch(matcher: QueryParameterMatcher, options: DecodeOptions): QueryMatch {
  const { queryParameterMatchSpecifier: test, name } = matcher;
  if (name === "") throw new ResourceError("name is empty");
  switch (test.case) {
    case "stringMatch":
      return { name, match: within("string_match", () => stringMatch(test.value, options)) };
    case "presentMatch":
      return test.value ? { name, match: undefined } : unsupported("present_match: false");
    case undefined:
      return { name, match: undefined };
  }
}

export function cidr(range: CidrRange): Cidr {
  const { addressPrefix: address } = range;
  const bits = range.prefixLen ?? 0;
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new ResourceError(`address_prefix ${JSON.stringify(address)} is not an IP address`);
  if (bits > (address.includes(":") ? 128 : 32))
    throw new ResourceError(`prefix_len ${bits} is too long for ${address}`);
  return { address, bits };
}

const denominators: Readonly<Record<FractionalPercent_DenominatorType, number>> = {
  [FractionalPercent_DenominatorType.HUNDRED]: 100,
  [FractionalPercent_DenominatorType.TEN_THOUSAND]: 10_000,
  [FractionalPercent_DenominatorType.MILLION]: 1_000_000,
};

/** Parts of a million, at most all of it. */
export function perMillion(fraction: FractionalPercent): number {
  const denominator = denominators[fraction.denominator] as number | undefined;
  if (denominator === undefined) throw new ResourceError(`denominator ${fraction.denominator} is not known`);
  return Math.min(1_000_000, (fraction.numerator * 1_000_000) / denominator);
}
