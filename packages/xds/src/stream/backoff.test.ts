import * as fc from "fast-check";
import { expect, test } from "vitest";

import { createBackoff } from "./backoff.ts";

test("doubles to the maximum, half of it chance, and starts over after a reset (R17)", () => {
  const low = createBackoff(() => 0, { baseMs: 100, maxMs: 500 });
  expect([low.next(), low.next(), low.next(), low.next(), low.next()]).toEqual([50, 100, 200, 250, 250]);
  low.reset();
  expect(low.next()).toBe(50);
  const high = createBackoff(() => 0.999, { baseMs: 100, maxMs: 500 });
  expect(high.next()).toBeCloseTo(100, 0);
});

test("never zero, never past the maximum, whatever chance says", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1 }), (rolls) => {
      let at = 0;
      const backoff = createBackoff(() => rolls[at++ % rolls.length]!);
      for (let i = 0; i < 20; i++) {
        const delay = backoff.next();
        expect(delay).toBeGreaterThanOrEqual(250);
        expect(delay).toBeLessThanOrEqual(15_000);
      }
    }),
    { seed: 1 },
  );
});
