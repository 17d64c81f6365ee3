import fc from "fast-check";
import { expect, test } from "vitest";
import { regex } from "../../test/fixture.ts";
import { compileRegex } from "./regex.ts";

const engine = (pattern: string, text: string) => regex(pattern).matches(text);

test("R29: a pattern matches the whole text, alternations included", () => {
  const match = compileRegex("a|bc", regex);
  expect(["a", "bc", "abc", "ac", "xa", ""].map(match)).toEqual([true, true, false, false, false, false]);
});

test("patterns that become string comparisons give the engine's answers", () => {
  const piece = fc.constantFrom("a", "b", "/", "-", "\\.", "\\-", "\\/", "\n", "é", "{", "(", "[");
  const literal = fc.array(piece, { maxLength: 3 }).map((parts) => parts.join(""));
  const wild = fc.constantFrom("", ".*", ".+", ".*.*", ".+.*", ".");
  const pattern = fc.oneof(
    fc.tuple(wild, literal, wild).map((parts) => parts.join("")),
    fc.array(literal, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("|")),
    fc.array(literal, { minLength: 1, maxLength: 3 }).map((parts) => `(?:${parts.join("|")})`),
    fc.array(literal, { minLength: 1, maxLength: 3 }).map((parts) => `(${parts.join("|")})`),
  );
  const text = fc.string({ unit: fc.constantFrom("a", "b", "/", "-", ".", "\n", "é"), maxLength: 6 });
  fc.assert(
    fc.property(pattern, text, (source, subject) => {
      let expected: boolean;
      try {
        expected = engine(source, subject);
      } catch {
        return;
      }
      expect(compileRegex(source, regex)(subject)).toBe(expected);
    }),
    { numRuns: 5_000 },
  );
});

test("a literal, a prefix and a list of words never reach the engine", () => {
  const refuse = () => {
    throw new Error("the engine was asked");
  };
  for (const pattern of ["/api/v1\\.0", "/api/.*", ".*\\.png", "GET|POST", "(a|b)", ".*", ".+", ".*x.*"])
    expect(() => compileRegex(pattern, refuse)).not.toThrow();
  expect(() => compileRegex("[a-z]+", refuse)).toThrow("the engine was asked");
});

test("a pattern that is not RE2 is refused when it is compiled", () => {
  expect(() => compileRegex("(?=a)", regex)).toThrow();
});
