import type { StringMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { asciiLower, hasAsciiLower } from "./ascii.ts";
import { compileRegex, type TextTest } from "./regex.ts";

/**
 * Compiles a string matcher into a plain comparison. Everything that can be known beforehand (letter case, an empty
 * value, a regex that is only a literal) is decided here, so that a call pays for the comparison alone.
 * Case is ASCII case, as in Envoy; a regex matches the whole text (R29).
 */
export function compileString(match: StringMatch, regex: Env["regex"]): TextTest {
  if (match.kind === "regex") return compileRegex(match.value, regex);
  const folded = match.ignoreCase && /[a-zA-Z]/.test(match.value);
  return folded ? foldedTest(match.kind, asciiLower(match.value)) : plainTest(match.kind, match.value);
}

type Kind = "exact" | "prefix" | "suffix" | "contains";

function plainTest(kind: Kind, value: string): TextTest {
  if (kind !== "exact" && value === "") return () => true;
  switch (kind) {
    case "exact":
      return (text) => text === value;
    case "prefix":
      return (text) => text.startsWith(value);
    case "suffix":
      return (text) => text.endsWith(value);
    case "contains":
      return (text) => text.includes(value);
  }
}

/** `value` is lower case already. ASCII folding keeps the length. */
function foldedTest(kind: Kind, value: string): TextTest {
  const length = value.length;
  switch (kind) {
    case "exact":
      return (text) => text.length === length && hasAsciiLower(text, value, 0);
    case "prefix":
      return (text) => hasAsciiLower(text, value, 0);
    case "suffix":
      return (text) => hasAsciiLower(text, value, text.length - length);
    case "contains":
      return (text) => text.length >= length && asciiLower(text).includes(value);
  }
}
