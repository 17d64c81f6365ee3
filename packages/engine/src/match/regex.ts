import type { Env } from "../env.ts";

/** A compiled match of one text. Total: it never throws, whatever bytes the text holds. */
export type TextTest = (text: string) => boolean;

/**
 * Compiles a policy regex, which must match the whole text (R29). A linear-time engine costs some hundred nanoseconds
 * a match, and most patterns in real policy are literals in disguise (`/api/.*`, `GET|POST`), so those become
 * string comparisons; the rest goes to the injected engine. `.` is everything but a line feed, as in RE2.
 */
export function compileRegex(pattern: string, regex: Env["regex"]): TextTest {
  return alternatives(pattern) ?? wildcard(pattern) ?? engine(pattern, regex);
}

/**
 * Why a substitution cannot stand beside a pattern; `undefined` when it can. RE2: `\\` and then a digit (a group that the pattern
 * has; 0 is the whole) or another `\\`.
 */
export function substitutionFault(pattern: string, substitution: string): string | undefined {
  const groups = groupsOf(pattern);
  for (const [, next = ""] of substitution.matchAll(/\\(.?)/gs)) {
    if (next === "\\") continue;
    if (!/\d/.test(next)) return "a backslash must be followed by a digit or by another backslash";
    if (Number(next) > groups) return `the pattern has no group \\${next}, only ${groups}`;
  }
  return undefined;
}

/** Parentheses that capture: neither escaped, nor inside a class or a quotation, nor `(?:…)` and its like. */
function groupsOf(pattern: string): number {
  const tokens = /\\Q[^]*?(?:\\E|$)|\\[^]|\[\^?\]?(?:\\[^]|\[:\w+:\]|[^\]\\])*\]|\((?:(?!\?)|(?=\?P?<))/g;
  let groups = 0;
  for (const [token] of pattern.matchAll(tokens)) if (token === "(") groups++;
  return groups;
}

function engine(pattern: string, regex: Env["regex"]): TextTest {
  const compiled = regex(pattern);
  return (text) => compiled.matches(text);
}

/** `a`, `a|b`, `(a|b)`, `(?:a|b)` with nothing but literals. */
function alternatives(pattern: string): TextTest | undefined {
  const group = /^\((?:\?:)?([^()]*)\)$/.exec(pattern);
  const literals: string[] = [];
  for (const part of (group?.[1] ?? pattern).split("|")) {
    const text = literal(part);
    if (text === undefined) return undefined;
    literals.push(text);
  }
  const [first] = literals;
  if (literals.length === 1) return (text) => text === first;
  const set = new Set(literals);
  return (text) => set.has(text);
}

/** A literal with `.*` or `.+` before it, behind it, or both. */
function wildcard(pattern: string): TextTest | undefined {
  const parts = /^(\.[*+])?(.*?)(\.[*+])?$/s.exec(pattern)!;
  const [, before, middle = "", after] = parts;
  const text = literal(middle);
  if (text === undefined) return undefined;
  if (text === "") {
    if (before !== undefined && after !== undefined) return undefined;
    const least = (before ?? after) === ".+" ? 1 : 0;
    return (value) => value.length >= least && !value.includes("\n");
  }
  // Where the literal could stand in several places, and a line feed might lie between them, leave it to the engine.
  if (text.includes("\n")) return undefined;
  const head = before === ".+" ? 1 : 0;
  const tail = after === ".+" ? 1 : 0;
  const least = text.length + head + tail;
  if (before === undefined) return (value) => value.length >= least && value.startsWith(text) && !value.includes("\n");
  if (after === undefined) return (value) => value.length >= least && value.endsWith(text) && !value.includes("\n");
  return (value) => {
    const at = value.indexOf(text, head);
    return at >= 0 && at + text.length + tail <= value.length && !value.includes("\n");
  };
}

/** The text that a pattern without operators stands for; `undefined` when it has any. Escaped punctuation is itself. */
function literal(pattern: string): string | undefined {
  if (!/^(?:[^\\.^$|?*+()[\]{}]|\\[!-/:-@[-`{-~])*$/su.test(pattern)) return undefined;
  return pattern.replace(/\\(.)/gsu, "$1");
}
