import * as fc from "fast-check";
import { expect, test } from "vitest";

import type { TextMatch } from "../../sources/istio/values.ts";
import type { HttpMatchSpec, HttpRuleSpec } from "../../sources/istio/virtual-service.ts";
import type { Content } from "../../sources/object.ts";
import { ownedRules, strayMatches } from "./delegate.ts";

// Few and short texts, so that conditions made independently of each other often lie within each other, or nearly.
const text = fc.constantFrom("", "a", "ab", "b");
const condition = fc.oneof(
  fc.record({ kind: fc.constantFrom("exact" as const, "prefix" as const), value: text }),
  fc.record({ kind: fc.constant("regex" as const), value: fc.constantFrom("a.*", ".*b", "b?") }),
);
const present = fc.constant<TextMatch>({ kind: "present" });
const fields = (one: fc.Arbitrary<TextMatch>): fc.Arbitrary<Record<string, TextMatch>> =>
  fc.dictionary(fc.constantFrom("x", "y"), one, { maxKeys: 2 });

const match: fc.Arbitrary<HttpMatchSpec> = fc.record({
  name: fc.constant(""),
  uri: fc.option(condition, { nil: undefined }),
  ignoreUriCase: fc.boolean(),
  method: fc.option(condition, { nil: undefined }),
  headers: fields(fc.oneof(condition, present)),
  withoutHeaders: fields(fc.oneof(condition, present)),
  queryParams: fields(condition),
  port: fc.option(fc.constantFrom(80, 81), { nil: undefined }),
  sourceLabels: fc.constant({}),
  gateways: fc.constant([]),
});

interface Request {
  readonly path: string;
  readonly method: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
}

const value = fc.constantFrom("", "a", "A", "ab", "abb", "b", "c");
const request: fc.Arbitrary<Request> = fc.record({
  path: value,
  method: value,
  port: fc.constantFrom(80, 81),
  headers: fc.dictionary(fc.constantFrom("x", "y"), value),
  query: fc.dictionary(fc.constantFrom("x", "y"), value),
});

const rule = (matches: readonly HttpMatchSpec[], more: Partial<HttpRuleSpec> = {}): HttpRuleSpec => ({
  name: "",
  match: matches,
  route: [{ destination: { host: "web" }, weight: 0 }],
  ...more,
});

const object = (name: string, hosts: string[], http: HttpRuleSpec[]): Content<"VirtualService"> =>
  ({ kind: "VirtualService", namespace: "shop", name, spec: { hosts, gateways: [], http } }) as never;

/** The rule that holds when a root's hands over to a delegate's; `undefined`: nothing is left of it. */
function joined(outer: readonly HttpMatchSpec[], inner: readonly HttpMatchSpec[]): HttpRuleSpec | undefined {
  const root = object("root", ["web"], [rule(outer, { route: [], delegate: { name: "leaf" } })]);
  const leaf = object("leaf", [], [rule(inner)]);
  return ownedRules(root, () => leaf)[0]?.spec;
}

test("what a joined rule takes, its root and its delegate take", () => {
  const matches = fc.array(match, { maxLength: 2 });
  fc.assert(
    fc.property(matches, matches, fc.array(request, { minLength: 20, maxLength: 20 }), (outer, inner, requests) => {
      const both = joined(outer, inner);
      for (const one of requests)
        if (both !== undefined && takes(both.match, one))
          expect([takes(outer, one), takes(inner, one)]).toEqual([true, true]);
    }),
    { numRuns: 500 },
  );
});

test("a rule is dropped only when each of its matches is told as a stray; without strays every request of both is taken", () => {
  fc.assert(
    fc.property(match, match, fc.array(request, { minLength: 20, maxLength: 20 }), (outer, inner, requests) => {
      const both = joined([outer], [inner]);
      expect(both === undefined).toBe(strayMatches(rule([outer]), rule([inner])).length === 1);
      if (both === undefined) return;
      for (const one of requests) expect(takes(both.match, one)).toBe(takes([outer], one) && takes([inner], one));
    }),
    { numRuns: 500 },
  );
});

/** The slow and plain meaning of matches (istio-api §2.3). */
function takes(matches: readonly HttpMatchSpec[], { path, method, port, headers, query }: Request): boolean {
  if (matches.length === 0) return true;
  return matches.some((each) => {
    const fold = (text: string): string =>
      each.ignoreUriCase && each.uri?.kind !== "regex" ? text.toLowerCase() : text;
    const uri = each.uri && ("value" in each.uri ? { ...each.uri, value: fold(each.uri.value) } : each.uri);
    return (
      (uri === undefined || holds(uri, fold(path))) &&
      (each.method === undefined || holds(each.method, method)) &&
      (each.port === undefined || each.port === port) &&
      Object.entries(each.headers).every(([name, one]) => holds(one, headers[name])) &&
      Object.entries(each.queryParams).every(([name, one]) => holds(one, query[name])) &&
      Object.entries(each.withoutHeaders).every(([name, one]) =>
        one.kind === "present" ? headers[name] === undefined : !holds(one, headers[name] ?? ""),
      )
    );
  });
}

function holds(one: TextMatch, text: string | undefined): boolean {
  if (text === undefined) return false;
  switch (one.kind) {
    case "present":
      return true;
    case "exact":
      return text === one.value;
    case "prefix":
      return text.startsWith(one.value);
    case "regex":
      return new RegExp(`^(?:${one.value})$`).test(text);
  }
}
