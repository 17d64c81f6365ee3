import { expect, test } from "vitest";
import { regex } from "../../test/fixture.ts";
import { compilePath, pathOf } from "./path.ts";

const takes = (kind: "prefix" | "exact" | "segments", value: string, ignoreCase: boolean, path: string) =>
  compilePath({ kind, value, ignoreCase }, regex)(path);

test("R30: prefix, exact and regex look at the path without its query", () => {
  expect(pathOf("/a?b?c")).toBe("/a");
  expect(pathOf("/a")).toBe("/a");
  expect(takes("exact", "/a", false, pathOf("/a?x=1"))).toBe(true);
  expect(takes("prefix", "/a", false, "/ab")).toBe(true);
  expect(takes("prefix", "/A", true, "/ab")).toBe(true);
  expect(takes("prefix", "/A", false, "/ab")).toBe(false);
  expect(compilePath({ kind: "regex", value: "/v[12]" }, regex)("/v1/x")).toBe(false);
});

test.each([
  ["/a", "/a", true],
  ["/a", "/a/", true],
  ["/a", "/a/b", true],
  ["/a", "/ab", false],
  ["/a/", "/a", true],
  ["/a/", "/a/b", true],
  ["/a/", "/ab", false],
  ["/", "/anything", true],
  ["/a", "/A/b", false],
])("whole segments: %s takes %s: %s", (value, path, expected) => {
  expect(takes("segments", value, false, path)).toBe(expected);
  expect(takes("segments", value.toUpperCase(), true, path)).toBe(expected || path === "/A/b");
});
