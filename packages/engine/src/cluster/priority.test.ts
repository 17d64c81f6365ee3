import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoint, locality } from "../../../../test/kit/mesh-config.ts";
import { chiSquare, chiSquareLimit } from "../../../../test/kit/statistics.ts";
import { MeshError } from "../errors.ts";
import { State } from "../state.ts";
import { Cluster } from "./cluster.ts";
import { priorityLoads } from "./priority.ts";

const call = makeCall();

describe("Envoy's own tables of loads", () => {
  // "Priority levels" and "Panic threshold" of Envoy's documentation: percent healthy of P=0, P=1 and P=2.
  it.each([
    { healthy: [100, 100], loads: [100, 0] },
    { healthy: [72, 100], loads: [100, 0] },
    { healthy: [71, 100], loads: [99, 1] },
    { healthy: [50, 100], loads: [70, 30] },
    { healthy: [25, 100], loads: [35, 65] },
    { healthy: [0, 100], loads: [0, 100] },
    { healthy: [100, 100, 100], loads: [100, 0, 0] },
    { healthy: [72, 72, 100], loads: [100, 0, 0] },
    { healthy: [50, 50, 100], loads: [70, 30, 0] },
    { healthy: [25, 25, 100], loads: [35, 35, 30] },
    { healthy: [25, 100, 100], loads: [35, 65, 0] },
    { healthy: [25, 0, 100], loads: [35, 0, 65] },
  ])("$healthy healthy: $loads", ({ healthy, loads }) => {
    const all = healthy.map(() => 100);
    expect(priorityLoads(healthy, all, 140, 50).loads).toEqual(loads);
  });

  it.each([
    { healthy: [72, 100], panic: [false, false], loads: [100, 0] },
    { healthy: [50, 60], panic: [false, false], loads: [70, 30] },
    { healthy: [25, 100], panic: [false, false], loads: [35, 65] },
    { healthy: [25, 25], panic: [true, true], loads: [50, 50] },
    { healthy: [5, 65], panic: [true, false], loads: [8, 92] },
  ])("$healthy healthy, panic below 50 %: $panic, $loads", ({ healthy, panic, loads }) => {
    const all = healthy.map(() => 100);
    const found = priorityLoads(healthy, all, 140, 50);
    expect(found.panic).toEqual(panic);
    expect(found.loads).toEqual(loads);
  });
});

describe("properties", () => {
  const level = fc.record({ all: fc.integer({ min: 0, max: 30 }), sick: fc.nat({ max: 30 }) });

  it("loads add up to 100, nobody above is passed over while he can hold more, and nobody without hosts gets any", () => {
    fc.assert(
      fc.property(
        fc.array(level, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 100, max: 300 }),
        fc.nat({ max: 100 }),
        (levels, over, threshold) => {
          const all = levels.map((each) => each.all);
          const healthy = levels.map(({ all: of, sick }) => Math.max(0, of - sick));
          const { loads, panic } = priorityLoads(healthy, all, over, threshold);
          expect(loads.reduce((sum, each) => sum + each, 0)).toBe(100);
          const holds = healthy.map((some, at) =>
            all[at] === 0 ? 0 : Math.min(100, Math.floor((over * some) / all[at]!)),
          );
          const together = holds.reduce((sum, each) => sum + each, 0);
          if (together >= 100) {
            expect(panic).not.toContain(true);
            // Water poured into vessels in order.
            let left = 100;
            expect(loads).toEqual(
              holds.map((each) => {
                const load = Math.min(each, left);
                left -= load;
                return load;
              }),
            );
          } else if (together > 0 && !panic.every(Boolean)) {
            for (const [at, load] of loads.entries())
              expect(Math.abs(load - (100 * holds[at]!) / together)).toBeLessThan(levels.length);
          }
          for (const [at, load] of loads.entries()) if (load > 0 && together > 0) expect(all[at]).toBeGreaterThan(0);
        },
      ),
      { seed: 44, numRuns: 1_000 },
    );
  });
});

/** Picks by address of a cluster with the given health by priority and locality: counts of sick and all endpoints. */
function tally(priorities: { sick: number; all: number; weight?: number }[][], panicPercent = 0, picks = 20_000) {
  const env = testEnv();
  const set = priorities.map((localities, level) =>
    localities.map(({ sick, all, weight }, zone) =>
      locality(
        Array.from({ length: all }, (_, at) =>
          endpoint(`10.${level}.${zone}.${at}:80`, { health: at < sick ? "unhealthy" : "healthy" }),
        ),
        { zone: `${zone}`, weight: weight ?? all },
      ),
    ),
  );
  const built = new Cluster(
    cluster("c", { priorities: set, panicPercent, balancer: { kind: "random" } }),
    env,
    new State(),
  );
  const counts = new Map<string, number>();
  for (let i = 0; i < picks; i++) {
    const picked = built.picker.pick(call);
    const key = picked instanceof MeshError ? picked.code : picked.config.address.split(".").slice(1, 3).join("/");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

describe("a cluster", () => {
  it("spills what the first priority cannot hold over to the second", () => {
    const counts = tally([[{ sick: 5, all: 10 }], [{ sick: 0, all: 10 }]]);
    expect(chiSquare([counts.get("0/0")!, counts.get("1/0")!], [70, 30])).toBeLessThan(chiSquareLimit(1));
  });

  it("weighs a locality by its healthy share, once overprovisioning no longer covers the rest", () => {
    const whole = tally([
      [
        { sick: 2, all: 10 },
        { sick: 0, all: 10 },
      ],
    ]);
    expect(chiSquare([whole.get("0/0")!, whole.get("0/1")!], [1, 1])).toBeLessThan(chiSquareLimit(1));
    const half = tally([
      [
        { sick: 5, all: 10 },
        { sick: 0, all: 10 },
      ],
    ]);
    expect(chiSquare([half.get("0/0")!, half.get("0/1")!], [0.7, 1])).toBeLessThan(chiSquareLimit(1));
  });

  it("uses all of a priority in panic, and nobody who is unhealthy without", () => {
    const panic = tally([[{ sick: 9, all: 10 }]], 50, 2_000);
    expect(panic.get("0/0")).toBe(2_000);
    expect(tally([[{ sick: 10, all: 10 }]], 50, 10).get("0/0")).toBe(10);
    expect(tally([[{ sick: 10, all: 10 }], [{ sick: 3, all: 3 }]], 0, 10).get("NO_HEALTHY_ENDPOINT")).toBe(10);
  });
});
