// The authorization engine against a naive one that takes rule 2 and rule 4 of dataplane.md §23 at their word: it tries
// every way in which the request can be read, leaf by leaf, and asks whether some (DENY) or every (ALLOW) one matches.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Permission, Principal, RbacPolicy, StringMatch } from "../config.ts";
import type { Call } from "../call.ts";
import type { Regex } from "../env.ts";
import { header, makeCall, makePeer, Recorder, regex, testEnv, testState } from "../../test/fixture.ts";
import { canonicalPath } from "../match/canonical-path.ts";
import { filterLayer } from "./chain.ts";
import { buildFilter } from "./registry.ts";

/** A dozen patterns serve all runs: to compile them anew each time would be most of the work. */
const compiled = new Map<string, Regex>();
function once(pattern: string): Regex {
  let made = compiled.get(pattern);
  if (made === undefined) compiled.set(pattern, (made = regex(pattern)));
  return made;
}
const env = { ...testEnv(), regex: once };

type Rule = Permission | Principal;
type Leaf = (call: Call) => readonly boolean[];

function textMatches(match: StringMatch, text: string): boolean {
  if (match.kind === "regex") return once(match.value).matches(text);
  const [value, subject] = match.ignoreCase ? [match.value.toLowerCase(), text.toLowerCase()] : [match.value, text];
  if (match.kind === "exact") return subject === value;
  if (match.kind === "prefix") return subject.startsWith(value);
  return match.kind === "suffix" ? subject.endsWith(value) : subject.includes(value);
}

/** What a leaf may come to: one entry for each reading of the request. */
const leafOf = (rule: Rule): Leaf | undefined => {
  switch (rule.kind) {
    case "any":
      return () => [true];
    case "never":
      return () => [false];
    case "path":
      return (call) => {
        const result = canonicalPath(call.path);
        if (!result.ok) throw new Error("the generator makes readable paths only");
        const bare = result.path.toLowerCase().replace(/(?<=.)\/$/, "");
        const folded: StringMatch =
          rule.match.kind === "regex"
            ? { kind: "regex", value: `(?i)(?:${rule.match.value})` }
            : { ...rule.match, ignoreCase: true };
        const lenient = textMatches(folded, bare) || (bare !== "/" && textMatches(folded, `${bare}/`));
        return [textMatches(rule.match, call.path.split("?")[0]!), textMatches(rule.match, result.path), lenient];
      };
    case "header":
      return (call) => {
        const values = call.headers.all(rule.match.name);
        const { test: condition, invert } = rule.match;
        if (condition.kind !== "string") throw new Error("the generator makes text conditions only");
        return values.length === 0 ? [false] : values.map((value) => textMatches(condition.match, value) !== invert);
      };
    case "authenticated":
      return ({ peer }) => [peer!.mtls && (rule.match === undefined || textMatches(rule.match, peer!.spiffeId!))];
    default:
      return undefined;
  }
};

/** Every outcome that a rule can have over all combinations of readings. */
function outcomes(rule: Rule, call: Call): ReadonlySet<boolean> {
  const leaf = leafOf(rule);
  if (leaf !== undefined) return new Set(leaf(call));
  if (rule.kind === "not") return new Set([...outcomes(rule.of, call)].map((one) => !one));
  if (rule.kind === "and" || rule.kind === "or") return combine(rule.of, rule.kind, call);
  throw new Error(`the generator does not make ${rule.kind}`);
}

function combine(rules: readonly Rule[], kind: "and" | "or", call: Call): ReadonlySet<boolean> {
  let sofar: ReadonlySet<boolean> = new Set([kind === "and"]);
  for (const rule of rules) {
    const next = outcomes(rule, call);
    sofar = new Set([...sofar].flatMap((a) => [...next].map((b) => (kind === "and" ? a && b : a || b))));
  }
  return sofar;
}

function matches(policies: readonly RbacPolicy[], action: "allow" | "deny", call: Call): boolean {
  return policies.some((policy) => {
    const seen = combine(
      [
        { kind: "or", of: policy.permissions },
        { kind: "or", of: policy.principals },
      ] as Rule[],
      "and",
      call,
    );
    return action === "deny" ? seen.has(true) : !seen.has(false);
  });
}

const string = (values: readonly string[]): fc.Arbitrary<StringMatch> =>
  fc.oneof(
    fc.record({
      kind: fc.constantFrom("exact", "prefix", "suffix", "contains" as const),
      value: fc.constantFrom(...values),
      ignoreCase: fc.boolean(),
    }),
    fc.constantFrom(...values).map((value) => ({ kind: "regex" as const, value: `${value}[a-z/]*` })),
  );
const pathLeaf = string(["/", "/a", "/A", "/a/", "/a/b", "b", ""]).map((match) => ({ kind: "path" as const, match }));
const headerLeaf = fc
  .tuple(fc.constantFrom("x", "y"), string(["1", "2", ""]), fc.boolean())
  .map(([name, match, invert]) => ({ kind: "header" as const, match: header(name, match, { invert }) }));
const constant = fc.constantFrom({ kind: "any" as const }, { kind: "never" as const });
const authenticated = fc
  .option(string(["spiffe://td/ns/shop/sa/a", "spiffe://td/ns/shop/", "spiffe://"]), { nil: undefined })
  .map((match) => ({ kind: "authenticated" as const, match }));

function tree<T>(leaf: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      leaf,
      tie("node").map((of) => ({ kind: "not", of })),
      fc.record({ kind: fc.constantFrom("and", "or"), of: fc.array(tie("node"), { maxLength: 3 }) }),
    ),
  })).node as fc.Arbitrary<T>;
}

const policyOf: fc.Arbitrary<RbacPolicy> = fc.record({
  name: fc.string({ maxLength: 3 }),
  permissions: fc.array(tree<Permission>(fc.oneof(pathLeaf, headerLeaf, constant)), { maxLength: 3 }),
  principals: fc.array(tree<Principal>(fc.oneof(authenticated, headerLeaf, pathLeaf, constant)), { maxLength: 3 }),
});
const request = fc.record({
  path: fc
    .array(fc.constantFrom("/", "/a", "/A", "/b", "/.", "/..", "/%61", "b", ";x", "/%2e", "?q=/a"), { maxLength: 4 })
    .map((parts) => parts.join("").replace(/^(?!\/)/, "/")),
  headers: fc
    .array(fc.constantFrom(["x", "1"], ["x", "2"], ["X", ""], ["y", "1"]), { maxLength: 4 })
    .map((fields) => fields.flat()),
  peer: fc.constantFrom(
    makePeer(),
    makePeer({ spiffeId: "spiffe://td/ns/shop/sa/a" }),
    makePeer({ spiffeId: "spiffe://td/ns/other/sa/a" }),
  ),
});

function passes(policies: readonly RbacPolicy[], action: "allow" | "deny", call: Call): boolean {
  const filter = buildFilter({ kind: "rbac", rules: { action, policies } }, "authz", env, testState());
  const sink = new Recorder();
  filterLayer(filter === undefined ? [] : [filter], env)((_call, inner) => inner.onEnd(undefined))(call, sink);
  return sink.events[0] === "end";
}

test("DENY if any reading matches, ALLOW only if all do, negations included", () => {
  fc.assert(
    fc.property(
      fc.array(policyOf, { maxLength: 3 }),
      fc.constantFrom("allow", "deny" as const),
      request,
      (policies, action, options) => {
        const call = makeCall({ side: "inbound", ...options });
        expect(passes(policies, action, call)).toBe(matches(policies, action, call) === (action === "allow"));
      },
    ),
    { numRuns: 2_500 },
  );
});

test("the verdict does not depend on the order of policies, permissions and principals", () => {
  fc.assert(
    fc.property(
      fc.array(policyOf, { maxLength: 3 }),
      fc.constantFrom("allow", "deny" as const),
      request,
      (policies, action, options) => {
        const call = makeCall({ side: "inbound", ...options });
        const turned = policies
          .map((one) => ({
            ...one,
            permissions: one.permissions.toReversed(),
            principals: one.principals.toReversed(),
          }))
          .toReversed();
        expect(passes(turned, action, call)).toBe(passes(policies, action, call));
      },
    ),
    { numRuns: 1_000 },
  );
});
