import fc from "fast-check";
import { expect, test } from "vitest";

import { formatTimeout, parseTimeout } from "./grpc-timeout.ts";

test("CVE class 19: only what gRPC calls a time-out is one", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...Array.from("0123456789HMSmuns- +.e")), maxLength: 12 }),
      (text) => {
        const ms = parseTimeout(text);
        expect(ms !== undefined).toBe(/^\d{1,8}[HMSmun]$/.test(text));
        if (ms !== undefined) expect(ms).toBeGreaterThanOrEqual(0);
      },
    ),
    { numRuns: 2_000, seed: 19 },
  );
});

test("what is sent of a deadline is never longer than it, and reads back within a thousandth", () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: 1e13, noNaN: true }), (ms) => {
      const text = formatTimeout(ms);
      expect(text).toMatch(/^\d{1,8}[HMSm]$/);
      const back = parseTimeout(text)!;
      expect(back).toBeLessThanOrEqual(ms);
      expect(back).toBeGreaterThan(ms * 0.97 - 1);
    }),
    { numRuns: 1_000, seed: 3 },
  );
});
