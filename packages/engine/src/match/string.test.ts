import fc from "fast-check";
import { expect, test } from "vitest";
import type { StringMatch } from "../config.ts";
import { regex } from "../../test/fixture.ts";
import { compileString } from "./string.ts";

/** The slow reading: letter by letter, A–Z folded by table. */
function reference(match: Exclude<StringMatch, { kind: "regex" }>, text: string): boolean {
  const fold = (s: string) =>
    match.ignoreCase
      ? Array.from(s, (c) => (c >= "A" && c <= "Z" ? String.fromCharCode(c.charCodeAt(0) + 32) : c)).join("")
      : s;
  const [value, subject] = [fold(match.value), fold(text)];
  const starts = (at: number) => subject.slice(at, at + value.length) === value;
  switch (match.kind) {
    case "exact":
      return subject === value;
    case "prefix":
      return starts(0);
    case "suffix":
      return subject.length >= value.length && starts(subject.length - value.length);
    case "contains":
      return Array.from({ length: subject.length + 1 }, (_, at) => at).some(starts);
  }
}

const letters = fc.string({
  unit: fc.constantFrom("a", "A", "b", "B", "-", "/", "é", "É", "\u212a", "k", "K"),
  maxLength: 6,
});

test("every kind equals a slow reference, with and without letter case", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("exact", "prefix", "suffix", "contains" as const),
      letters,
      fc.boolean(),
      fc.string({ unit: fc.constantFrom("a", "A", "b", "B", "-", "/", "é", "É", "\u212a", "k", "K"), maxLength: 9 }),
      (kind, value, ignoreCase, text) => {
        const match = { kind, value, ignoreCase } as Exclude<StringMatch, { kind: "regex" }>;
        expect(compileString(match, regex)(text)).toBe(reference(match, text));
      },
    ),
    { numRuns: 2_000 },
  );
});

test("letter case is that of ASCII: the Kelvin sign is no k", () => {
  const match = compileString({ kind: "exact", value: "k", ignoreCase: true }, regex);
  expect([match("K"), match("\u212a")]).toEqual([true, false]);
});
