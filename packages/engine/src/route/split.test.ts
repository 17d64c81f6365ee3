import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { seeded } from "../../test/fixture.ts";
import { compileSplit } from "./split.ts";

const entries = (weights: readonly number[]) => weights.map((weight, value) => ({ weight, value }));

describe("R35", () => {
  test("shares follow the weights, whatever their sum (chi-squared, 99.9 %)", () => {
    // Critical values of chi-squared at 0.999 by degrees of freedom.
    const critical = [0, 10.83, 13.82, 16.27];
    for (const weights of [
      [90, 10],
      [1, 1, 1],
      [5, 0, 3, 2],
      [1, 999],
      [3, 1, 4, 1],
    ]) {
      const draws = 20_000;
      const random = seeded(42);
      const split = compileSplit(entries(weights))!;
      const counts = weights.map(() => 0);
      for (let i = 0; i < draws; i++) counts[split(random)]!++;
      const total = weights.reduce((a, b) => a + b, 0);
      let chi = 0;
      for (const [at, weight] of weights.entries()) {
        const expected = (draws * weight) / total;
        if (expected === 0) expect(counts[at]).toBe(0);
        else chi += (counts[at]! - expected) ** 2 / expected;
      }
      expect(chi).toBeLessThan(critical[weights.filter((weight) => weight > 0).length - 1]!);
    }
  });

  test("weight 0 is never drawn, at neither end of the roll", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(5), { minLength: 1, maxLength: 5 }),
        fc.constantFrom(0, 0.5, 1 - 2 ** -53),
        (weights, rolled) => {
          const split = compileSplit(entries(weights));
          if (split === undefined) expect(weights.every((weight) => weight === 0)).toBe(true);
          else expect(weights[split(() => rolled)]).toBeGreaterThan(0);
        },
      ),
    );
  });

  test("weights up to 2^32 − 1 stay exact", () => {
    const split = compileSplit(entries([2 ** 32 - 2, 1]))!;
    expect([split(() => 1 - 2 ** -32), split(() => 1 - 2 ** -31)]).toEqual([1, 0]);
  });
});

test("R38: one roll a draw, and none where there is no choice", () => {
  let rolls = 0;
  const random = () => (rolls++, 0.5);
  compileSplit(entries([1, 1, 1]))!(random);
  expect(rolls).toBe(1);
  compileSplit(entries([0, 7]))!(random);
  expect(rolls).toBe(1);
});
