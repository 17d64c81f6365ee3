import { expect, test } from "vitest";

import { nearest } from "../names.ts";
import { duration, percentage } from "./values.ts";

test.each([
  ["1.5s", 1_500],
  ["300ms", 300],
  ["0.3s", 300],
  ["1m30s", 90_000],
  ["1h", 3_600_000],
  ["1000us", 1],
])("duration %s", (text, ms) => {
  expect(duration.parse(text)).toBe(ms);
});

test.each(["", "5", "1.5", "s", "-1s", "0s", "0.1ms", "1 s", "1e3s", "1d", "99999999999999999h"])(
  "no duration: %j",
  (text) => {
    expect(duration.safeParse(text).success).toBe(false);
  },
);

test("0.1 means 0.1 %, not 10 %", () => {
  expect(percentage.parse({ value: 0.1 })).toBe(1_000);
  expect(percentage.parse({ value: 100 })).toBe(1_000_000);
  expect(percentage.parse({})).toBe(0);
  expect(percentage.safeParse({ value: 0.00001 }).success).toBe(false);
});

test("a slip is recognised, another word is not", () => {
  const known = ["trafficPolicy", "subsets", "host"];
  expect(nearest("traficPolicy", known)).toBe("trafficPolicy");
  expect(nearest("traffic_policy", known)).toBe("trafficPolicy");
  expect(nearest("hots", known)).toBe("host");
  expect(nearest("coffee", known)).toBeUndefined();
});
