import { expect, it } from "vitest";
import { seededRandom } from "../../../../test/kit/random.ts";
import { AnswerTimes } from "./answer-times.ts";

it("says nothing while too few answers were seen", () => {
  const times = new AnswerTimes();
  for (let i = 0; i < 63; i++) times.add(5);
  expect(times.quantile(0.95)).toBeUndefined();
  times.add(5);
  expect(times.quantile(0.95)).toBeDefined();
});

it("is at most a fifth above the exact quantile, and not below it", () => {
  const random = seededRandom(11);
  for (const share of [0.5, 0.9, 0.95, 0.99]) {
    const times = new AnswerTimes();
    const all: number[] = [];
    for (let i = 0; i < 1_000; i++) {
      const ms = 1 + 400 * random() ** 4;
      all.push(ms);
      times.add(ms);
    }
    const exact = all.toSorted((a, b) => a - b)[Math.ceil(share * all.length) - 1]!;
    expect(times.quantile(share)!).toBeGreaterThanOrEqual(exact * 0.999);
    expect(times.quantile(share)!).toBeLessThanOrEqual(exact * 2 ** 0.25 * 1.001);
  }
});

it("forgets: after some thousands of answers the times of before do not decide any more", () => {
  const times = new AnswerTimes();
  for (let i = 0; i < 2_000; i++) times.add(100);
  for (let i = 0; i < 8_000; i++) times.add(2);
  expect(times.quantile(0.95)!).toBeLessThan(3);
});

it("takes what no clock should give", () => {
  const times = new AnswerTimes();
  for (let i = 0; i < 100; i++) times.add(i % 2 === 0 ? 0 : 1e12);
  expect(times.quantile(0.01)).toBe(0.25);
  expect(times.quantile(1)).toBeGreaterThan(1e6);
});
