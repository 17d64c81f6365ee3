import { Admission } from "@trama/engine";
import { expect, test } from "vitest";

import { createClock } from "./clock.ts";
import { watchLoop } from "./loop-load.ts";

test("a blocked event loop is seen, and one that is free again as well", { timeout: 20_000 }, async () => {
  const clock = createClock();
  const off = { utilization: undefined, concurrency: undefined, exempt: [] };
  const admission = new Admission({ ...off, loopDelayMs: 10_000 }, { clock, random: () => 0 });
  const seen: { delayMs: number; utilization: number }[] = [];
  admission.onLoad = (delayMs, utilization) => void seen.push({ delayMs, utilization });
  const stop = watchLoop(admission, clock);
  const next = async (): Promise<(typeof seen)[number]> => {
    const before = seen.length;
    while (seen.length === before) await new Promise((resolve) => setTimeout(resolve, 5));
    return seen.at(-1)!;
  };
  await next();
  const until = performance.now() + 400;
  while (performance.now() < until);
  const blocked = await next();
  expect(blocked.delayMs).toBeGreaterThan(200);
  expect(blocked.utilization).toBeGreaterThan(0.4);
  // Other processes may take the machine from us for a while, but not for ever.
  while ((await next()).delayMs > 100);
  stop();
  const told = seen.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(seen).toHaveLength(told);
  clock.close();
});
