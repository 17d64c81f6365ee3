import { expect, test } from "vitest";

import { compileRegex } from "./regex.ts";

test("R29: RE2 semantics, the whole text, in linear time", () => {
  expect(compileRegex("a+b").matches("aab")).toBe(true);
  expect(compileRegex("a+b").matches("xaab")).toBe(false);
  expect(compileRegex("(?i)get").matches("GET")).toBe(true);
  const start = performance.now();
  expect(compileRegex("(a+)+b").matches("a".repeat(5_000))).toBe(false);
  expect(performance.now() - start).toBeLessThan(2_000);
});

test("what is not RE2, or too long, is refused with a message", () => {
  for (const pattern of ["(?=x)", "(a)\\1", "[", "x".repeat(5_000)]) expect(() => compileRegex(pattern)).toThrow(/./);
});

test("substitution is RE2's: \\1, and a dollar is a dollar", () => {
  expect(compileRegex("/v(\\d)/(.*)").replace("/v1/books", "/\\2?v=\\1&$1")).toBe("/books?v=1&$1");
  expect(compileRegex("a").replace("banana", "\\\\")).toBe("b\\n\\n\\");
});
