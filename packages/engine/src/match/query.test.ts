import fc from "fast-check";
import { expect, test } from "vitest";
import { is, testEnv } from "../../test/fixture.ts";
import { compileQuery, queryValue } from "./query.ts";

test.each([
  ["/p", "a", undefined],
  ["/p?", "a", undefined],
  ["/p?a", "a", ""],
  ["/p?a=", "a", ""],
  ["/p?a=1&a=2", "a", "1"],
  ["/p?aa=1&a=2", "a", "2"],
  ["/p?b=a=1", "a", undefined],
  ["/p?a=b=c", "a", "b=c"],
  ["/p?a=%31", "a", "%31"],
  ["/p?x&&a=1", "a", "1"],
  ["/p?x?a=1", "a", undefined],
  ["/a=1", "a", undefined],
])("the first value of a parameter, not decoded: %s has %s = %s", (target, name, expected) => {
  expect(queryValue(target, name)).toBe(expected);
});

test("equals splitting the query by hand", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "=", "&", "?"), maxLength: 12 });
  fc.assert(
    fc.property(text, fc.constantFrom("a", "b", "ab"), (query, name) => {
      const pair = query.split("&").find((part) => part === name || part.startsWith(`${name}=`));
      expect(queryValue(`/p?${query}`, name)).toBe(pair?.slice(name.length + 1));
    }),
  );
});

test("a condition without comparison asks for presence alone", () => {
  const env = testEnv();
  expect(compileQuery({ name: "a", match: undefined }, env)("/p?a")).toBe(true);
  expect(compileQuery({ name: "a", match: undefined }, env)("/p?b")).toBe(false);
  expect(compileQuery({ name: "a", match: is("") }, env)("/p")).toBe(false);
});
