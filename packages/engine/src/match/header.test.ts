import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HeaderMatch, StringMatch } from "../config.ts";
import { header, is, makeCall, testEnv } from "../../test/fixture.ts";
import { compileHeader, compileHeaderStrict } from "./header.ts";

const env = testEnv();
const present = (name: string, wanted: boolean, rest: Partial<HeaderMatch> = {}): HeaderMatch => ({
  name,
  test: { kind: "present", present: wanted },
  invert: false,
  missingIsEmpty: false,
  ...rest,
});
const range = (start: number, end: number, rest: Partial<HeaderMatch> = {}): HeaderMatch => ({
  name: "x",
  test: { kind: "range", start, end },
  invert: false,
  missingIsEmpty: false,
  ...rest,
});
const routes = (match: HeaderMatch, headers: readonly string[], options = {}) =>
  compileHeader(match, env)(makeCall({ headers, ...options }));

describe("R31, routing", () => {
  test("an absent header never matches, not even inverted", () => {
    expect(routes(header("x", is("a")), [])).toBe(false);
    expect(routes(header("x", is("a"), { invert: true }), [])).toBe(false);
    expect(routes(header("x", is(""), { missingIsEmpty: true }), [])).toBe(true);
    expect(routes(header("x", is("a"), { missingIsEmpty: true, invert: true }), [])).toBe(true);
    expect(routes(range(0, 5, { invert: true }), [])).toBe(false);
  });

  test("presence is the exception: present false and inverted presence match what is absent", () => {
    expect(routes(present("x", false), [])).toBe(true);
    expect(routes(present("x", true), [])).toBe(false);
    expect(routes(present("x", true, { invert: true }), [])).toBe(true);
    expect(routes(present("x", false, { invert: true }), [])).toBe(false);
    expect(routes(present("x", false), ["x", ""])).toBe(false);
  });

  test("any of several values is enough, and inversion is of that whole, as Envoy does it", () => {
    const twice = ["x", "a", "y", "-", "X", "b"];
    expect(routes(header("x", is("b")), twice)).toBe(true);
    expect(routes(header("x", is("a,b")), twice)).toBe(false);
    expect(routes(header("x", is("b"), { invert: true }), twice)).toBe(false);
    expect(routes(header("x", is("c"), { invert: true }), twice)).toBe(true);
    expect(routes(range(0, 5), ["x", "-", "x", "3"])).toBe(true);
  });

  test("text beyond ASCII is compared as its UTF-8 bytes, one character each as Node gives them", () => {
    const bytes = Buffer.from("café").toString("latin1");
    expect(routes(header("x", is("café")), ["x", bytes])).toBe(true);
    expect(routes(header("x", is("café")), ["x", "café"])).toBe(false);
    expect(routes(header("x", { kind: "regex", value: "c.*é" }), ["x", bytes])).toBe(true);
    expect(routes(header("x", { kind: "regex", value: "caf.." }), ["x", bytes])).toBe(true);
    expect(compileHeaderStrict(header("x", is("café")), "any", env)(makeCall({ headers: ["x", bytes] }))).toBe(true);
  });

  test("to gRPC several values are one text joined by a comma", () => {
    const twice = ["x", "a", "y", "-", "X", "b"];
    expect(routes(header("x", is("a,b")), twice, { protocol: "grpc" })).toBe(true);
    expect(routes(header("x", is("a")), twice, { protocol: "grpc" })).toBe(false);
  });

  test("gRPC does not see binary metadata", () => {
    expect(routes(present("x-bin", true), ["x-bin", "AA=="], { protocol: "grpc" })).toBe(false);
    expect(routes(present("x-bin", true), ["x-bin", "AA=="])).toBe(true);
  });
});

test.each([
  ["5", true],
  ["-5", true],
  ["+5", true],
  ["10", false],
  ["-10", true],
  ["-11", false],
  ["5.0", false],
  [" 5", false],
  ["0x5", false],
  ["5e0", false],
  ["", false],
  ["99999999999999999999", false],
])("range is half open over signed decimal integers: %s in [-10, 10) is %s", (value, expected) => {
  expect(routes(range(-10, 10), ["x", value])).toBe(expected);
});

test("R56: pseudo headers, and Host is :authority", () => {
  const options = { authority: "a.b:80", method: "PUT", path: "/x?y" };
  for (const [name, value] of [
    [":authority", "a.b:80"],
    ["host", "a.b:80"],
    [":method", "PUT"],
    [":path", "/x?y"],
  ] as const)
    expect(routes(header(name, is(value)), ["host", "spoofed"], options)).toBe(true);
  expect(() => compileHeader(header(":status", is("https")), env)).toThrow(/R56/);
});

test("names of the prototype are ordinary names", () => {
  for (const name of ["__proto__", "constructor", "tostring"]) {
    expect(routes(present(name, true), [])).toBe(false);
    expect(routes(header(name, is("v")), [name, "v"])).toBe(true);
  }
});

describe("dataplane §23 rule 4, authorization", () => {
  const value = fc.constantFrom("a", "b", "ab", "", "1", "7");
  const string: fc.Arbitrary<StringMatch> = fc.oneof(
    fc.record({
      kind: fc.constantFrom("exact", "prefix", "suffix", "contains" as const),
      value,
      ignoreCase: fc.boolean(),
    }),
    fc.constantFrom("a.*", "[ab]+").map((source) => ({ kind: "regex" as const, value: source })),
  );
  const condition: fc.Arbitrary<HeaderMatch> = fc.record({
    name: fc.constant("x"),
    test: fc.oneof(
      string.map((match) => ({ kind: "string" as const, match })),
      fc.constant({ kind: "range" as const, start: 0, end: 5 }),
      fc.boolean().map((wanted) => ({ kind: "present" as const, present: wanted })),
    ),
    invert: fc.boolean(),
    missingIsEmpty: fc.boolean(),
  });

  test("any and all over any number of values equal a reference that asks the matcher of one value", () => {
    fc.assert(
      fc.property(condition, fc.array(value, { maxLength: 4 }), (match, values) => {
        const call = makeCall({ headers: values.flatMap((one) => ["X", one, "other", "a"]) });
        // One value at a time, both forms and routing agree; that is the primitive.
        const each = (values.length === 0 ? [undefined] : values).map((one) =>
          routes(match, one === undefined ? [] : ["x", one]),
        );
        expect(compileHeaderStrict(match, "any", env)(call)).toBe(each.includes(true));
        expect(compileHeaderStrict(match, "all", env)(call)).toBe(!each.includes(false));
      }),
      { numRuns: 2_000 },
    );
  });

  test("a second value hides nothing from a DENY and smuggles nothing into an ALLOW", () => {
    const call = makeCall({ headers: ["x-role", "guest", "x-role", "banned"] });
    expect(compileHeaderStrict(header("x-role", is("banned")), "any", env)(call)).toBe(true);
    expect(compileHeaderStrict(header("x-role", is("guest")), "all", env)(call)).toBe(false);
  });
});
