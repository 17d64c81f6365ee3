import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fakeClock } from "../../../../test/kit/clock.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { retryPolicy } from "../../../../test/kit/mesh-config.ts";
import { HeaderList } from "../headers.ts";
import { askedPause, pushback } from "./pause.ts";
import { RetryPlan } from "./retry-policy.ts";

const clock = fakeClock();
const asked = (fields: Record<string, string>, resets?: Parameters<typeof askedPause>[2]) =>
  askedPause(HeaderList.ofRecord(fields), clock, resets);
const at = (ms: number) => new Date(clock.wall() + ms).toUTCString();

describe("Retry-After", () => {
  it("is seconds or a date (RFC 9110 §10.2.3)", () => {
    expect(asked({ "retry-after": "7" })).toBe(7_000);
    expect(asked({ "retry-after": at(30_000) })).toBe(30_000);
    expect(asked({})).toBeUndefined();
  });

  it("is passed over when it is negative, past, huge or nothing of the kind", () => {
    for (const text of [
      "-1",
      "0",
      "301",
      "999999999999",
      "9999999999999999",
      "1.5",
      "soon",
      "",
      "7 s",
      at(-1_000),
      at(400_000),
      "2026-01-01",
    ])
      expect(asked({ "retry-after": text }), text).toBeUndefined();
  });

  it("never is a number that no timer could take, whatever a server writes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer().map(String), fc.double().map(String)), (text) => {
        const ms = asked({ "retry-after": text.replace(/[^\x20-\x7e]/g, "") });
        expect(ms === undefined || (ms > 0 && ms <= 300_000)).toBe(true);
      }),
    );
  });
});

describe("rate_limited_retry_back_off", () => {
  const resets = {
    headers: [
      { name: "x-ratelimit-reset", unit: "unix_time" as const },
      { name: "ratelimit-reset", unit: "seconds" as const },
    ],
    maxMs: 10_000,
  };
  const inSeconds = (s: number) => String(Math.ceil(clock.wall() / 1_000) + s);

  it("takes the first of its fields that can be read and is within its bound", () => {
    const moment = asked({ "x-ratelimit-reset": inSeconds(4), "ratelimit-reset": "9" }, resets)!;
    expect(moment).toBeGreaterThan(3_000);
    expect(moment).toBeLessThanOrEqual(5_000);
    expect(asked({ "x-ratelimit-reset": inSeconds(-4), "ratelimit-reset": "9" }, resets)).toBe(9_000);
    expect(asked({ "x-ratelimit-reset": "?", "ratelimit-reset": "11" }, resets)).toBeUndefined();
  });

  it("replaces Retry-After", () => {
    expect(asked({ "retry-after": "1" }, resets)).toBeUndefined();
  });

  it("is jittered upwards only, by half at most", () => {
    const plan = new RetryPlan(retryPolicy({ resets }), testEnv());
    const fields = HeaderList.ofRecord({ "ratelimit-reset": "2" });
    expect([0, 0.5, 1].map((random) => plan.pauseMs(fields, clock, random))).toEqual([2_000, 2_500, 3_000]);
    expect(plan.pauseMs(HeaderList.empty(), clock, 0.5)).toBeUndefined();
  });
});

describe("grpc-retry-pushback-ms (gRFC A6)", () => {
  it.each([
    ["0", 0],
    ["250", 250],
    ["300000", 300_000],
    ["300001", "never"],
    ["-1", "never"],
    ["1.5", "never"],
    ["x", "never"],
    ["", "never"],
  ] as const)("%j → %j", (text, expected) => {
    expect(pushback(HeaderList.ofRecord({ "grpc-retry-pushback-ms": text }))).toBe(expected);
  });

  it("says nothing when it is not there", () => {
    expect(pushback(HeaderList.empty())).toBeUndefined();
    expect(pushback(undefined)).toBeUndefined();
  });
});
