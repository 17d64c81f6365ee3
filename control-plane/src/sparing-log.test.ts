import { expect, test } from "vitest";

import { fakeClock } from "../test/kit/fake-clock.ts";
import { sparingly } from "./sparing-log.ts";

test("a flood is a few lines, and the next one says how many were left out", () => {
  const clock = fakeClock();
  const write = sparingly(clock);
  const lines: object[] = [];
  const flood = (count: number): void => {
    for (let i = 0; i < count; i++) write((more) => lines.push(more));
  };
  flood(7_000);
  expect(lines).toEqual(Array.from({ length: 50 }, () => ({})));
  clock.advance(1_000);
  flood(7_000);
  expect(lines.slice(50)).toEqual([{ leftOut: 6_950 }, {}, {}, {}, {}]);
  clock.advance(60_000);
  flood(1);
  expect(lines.at(-1)).toEqual({ leftOut: 6_995 });
});
