import { createRequire } from "node:module";
import type { Regex } from "@trama/engine";
import type { RE2JS } from "re2js";

/** Longer patterns are refused: policy is written by people (dataplane.md §23 rule 7). */
const maxPattern = 4096;

let loaded: typeof RE2JS | undefined;

/**
 * Compiles a policy regex with RE2 semantics in linear time (R29): V8's own engine would let a short pattern block the
 * event loop for seconds. The engine asks only for what is more than literals and wildcards, so the library is loaded
 * when the first such pattern comes. Throws with a message for people when the pattern is not RE2.
 */
export function compileRegex(pattern: string): Regex {
  if (pattern.length > maxPattern)
    throw new Error(`regex of ${pattern.length} characters; at most ${maxPattern} are allowed`);
  loaded ??= (createRequire(import.meta.url)("re2js") as { RE2JS: typeof RE2JS }).RE2JS;
  const compiled = loaded.compile(pattern);
  return {
    matches: (text) => compiled.matches(text),
    replace: (text, substitution) => compiled.matcher(text).replaceAll(javaForm(substitution), true),
  };
}

/** RE2 writes groups as `\1`; the library, in the form that knows escapes, as `$1`. */
function javaForm(substitution: string): string {
  return substitution.replace(/\$|\\(\\|\d)/g, (whole, escaped: string | undefined) =>
    whole === "$" ? "\\$" : escaped === "\\" ? whole : `$${escaped!}`,
  );
}
