import fc from "fast-check";
import { expect, test } from "vitest";
import type { PathMatch, RouteMatch } from "../config.ts";
import { exact, header, is, makeCall, prefix, testEnv } from "../../test/fixture.ts";
import { compileRouteMatch } from "../match/route-match.ts";
import { PrefixIndex } from "./prefix-index.ts";
import { compileRouteTable } from "./route-table.ts";

const env = testEnv();
const find = (matches: readonly RouteMatch[], path: string, headers: readonly string[] = []) =>
  compileRouteTable(
    matches.map((match, value) => ({ match, value })),
    env,
  )(makeCall({ path, headers }), path);

test("R30: the first matching route wins, not the best", () => {
  expect(find([prefix("/"), exact("/a")], "/a")).toBe(0);
  expect(find([exact("/a"), prefix("/")], "/a")).toBe(0);
  expect(find([prefix("/a/b"), prefix("/a"), prefix("/a/b/c")], "/a/b/c")).toBe(0);
  expect(find([prefix("/b"), exact("/c")], "/a")).toBeUndefined();
});

test("R30: a route whose other conditions fail leaves the call to the next", () => {
  const canary = prefix("/a", { headers: [header("x", is("1"))] });
  expect(find([canary, exact("/a"), prefix("/")], "/a", ["x", "1"])).toBe(0);
  expect(find([canary, exact("/a"), prefix("/")], "/a")).toBe(1);
  expect(find([canary, exact("/a"), prefix("/")], "/ab")).toBe(2);
});

test("the index equals trying every route in turn", () => {
  const text = fc
    .array(fc.constantFrom("/", "/a", "/b", "/A", "a", "b"), { maxLength: 4 })
    .map((parts) => `/${parts.join("")}`);
  const path: fc.Arbitrary<PathMatch> = fc.oneof(
    fc.record({ kind: fc.constantFrom("prefix", "exact", "segments" as const), value: text, ignoreCase: fc.boolean() }),
    text.map((value) => ({ kind: "regex" as const, value: `${value}[ab]*` })),
  );
  const match = fc.record({
    path,
    headers: fc.oneof(fc.constant([]), fc.constant([header("x", is("1"))])),
    query: fc.constant([]),
    fractionPerMillion: fc.constant(undefined),
  });
  fc.assert(
    fc.property(fc.array(match, { maxLength: 12 }), text, fc.boolean(), (matches, target, marked) => {
      const call = makeCall({ path: target, headers: marked ? ["x", "1"] : [] });
      const first = matches.findIndex((one) => compileRouteMatch(one, env)(call, target));
      expect(find(matches, target, marked ? ["x", "1"] : [])).toBe(first < 0 ? undefined : first);
    }),
    { numRuns: 5_000 },
  );
});

test("the prefix index finds all literals that a text begins with, longest first", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "\uffff", "é"), maxLength: 5 });
  fc.assert(
    fc.property(fc.array(text, { maxLength: 12 }), text, (literals, subject) => {
      const index = new PrefixIndex(literals.map((literal, entry) => ({ literal, entry })));
      const found: string[] = [];
      for (let node = index.longest(subject); node !== undefined; node = node.parent) found.push(node.literal);
      const expected = [...new Set(literals.filter((literal) => subject.startsWith(literal)))];
      expect(found).toEqual(expected.sort((a, b) => b.length - a.length));
    }),
    { numRuns: 3_000 },
  );
});
