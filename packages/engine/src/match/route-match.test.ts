import { describe, expect, test } from "vitest";
import { header, is, makeCall, prefix, seeded, testEnv } from "../../test/fixture.ts";
import { pathOf } from "./path.ts";
import { compileRouteMatch, roll } from "./route-match.ts";

const takes = (match: ReturnType<typeof prefix>, options: Parameters<typeof makeCall>[0] = {}) => {
  const call = makeCall(options);
  return compileRouteMatch(match, testEnv())(call, pathOf(call.path));
};

describe("R30", () => {
  test("path, headers and query must all hold", () => {
    const match = prefix("/a", {
      headers: [header("x", is("1")), header("y", is("2"))],
      query: [{ name: "q", match: is("3") }],
    });
    expect(takes(match, { path: "/a?q=3", headers: ["x", "1", "y", "2"] })).toBe(true);
    expect(takes(match, { path: "/b?q=3", headers: ["x", "1", "y", "2"] })).toBe(false);
    expect(takes(match, { path: "/a?q=4", headers: ["x", "1", "y", "2"] })).toBe(false);
    expect(takes(match, { path: "/a?q=3", headers: ["x", "1"] })).toBe(false);
  });

  test("a route with query conditions never takes a gRPC call", () => {
    const match = prefix("/", { query: [{ name: "q", match: undefined }] });
    expect(takes(match, { path: "/a?q", protocol: "http" })).toBe(true);
    expect(takes(match, { path: "/a?q", protocol: "grpc" })).toBe(false);
  });
});

describe("R32", () => {
  test("a fraction is rolled anew per request, after all other conditions", () => {
    let rolls = 0;
    const random = seeded(7);
    const env = { ...testEnv(), random: () => (rolls++, random()) };
    const match = compileRouteMatch(prefix("/a", { fractionPerMillion: 250_000 }), env);
    const call = makeCall({ path: "/a" });
    let taken = 0;
    for (let i = 0; i < 4_000; i++) if (match(call, "/a")) taken++;
    expect(rolls).toBe(4_000);
    expect(Math.abs(taken / 4_000 - 0.25)).toBeLessThan(0.025);
    expect(match(call, "/b")).toBe(false);
    expect(rolls).toBe(4_000);
  });

  test("certain and impossible shares are not rolled", () => {
    const never = () => {
      throw new Error("rolled");
    };
    expect([roll(0, never), roll(1_000_000, never)]).toEqual([false, true]);
    expect([roll(1, () => 0), roll(999_999, () => 0.999_999_5)]).toEqual([true, false]);
  });
});
