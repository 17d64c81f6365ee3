import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoint, locality } from "../../../../test/kit/mesh-config.ts";
import { chiSquare, chiSquareLimit } from "../../../../test/kit/statistics.ts";
import type { BalancerConfig, Locality, ZoneAwareConfig } from "../config.ts";
import { MeshError } from "../errors.ts";
import { State } from "../state.ts";
import { Cluster } from "./cluster.ts";
import { type Callers, type ZoneSize, zoneShares } from "./zone-aware.ts";

const place = (zone: number): Locality => ({ region: "r1", zone: `${zone}`, subZone: "" });
const sizes = (counts: readonly number[]): ZoneSize[] =>
  counts.map((ready, zone) => ({ locality: place(zone), ready }));
const callers = (own: number, counts: readonly number[]): Callers => ({ locality: place(own), zones: sizes(counts) });

/** Shares in percent, rounded to a hundredth. */
function percents(upstream: readonly number[], from: Callers, minClusterSize = 1): number[] | undefined {
  const shares = zoneShares(sizes(upstream), from, minClusterSize);
  const sum = shares?.reduce((total, each) => total + each, 0);
  return shares?.map((each) => Math.round((10_000 * each) / sum!) / 100);
}

describe("shares by zone, as in Envoy's documentation", () => {
  it("keeps all calls where the zone has at least as large a share of the endpoints as of the callers", () => {
    expect(percents([2, 2, 2], callers(0, [1, 1, 1]))).toEqual([100, 0, 0]);
    expect(percents([4, 1, 1], callers(0, [1, 1, 1]))).toEqual([100, 0, 0]);
  });

  it("keeps what the zone can hold, and gives the rest to those who have more than their own callers need", () => {
    // 40, 40 and 20 % of the callers; 25, 50 and 25 % of the endpoints: 62.5 % stay, the rest goes 2 : 1.
    expect(percents([5, 10, 5], callers(0, [4, 4, 2]))).toEqual([62.5, 25, 12.5]);
  });

  it("sends everything away when the own zone has no endpoint that takes traffic, or none at all", () => {
    expect(percents([0, 3, 3], callers(0, [1, 1, 1]))).toEqual([0, 50, 50]);
    expect(
      percents([0, 3, 6], { locality: place(7), zones: [{ locality: place(7), ready: 1 }, ...sizes([1, 1])] }),
    ).toEqual([0, 0, 100]);
  });

  it.each([
    ["one zone with endpoints", [6], callers(0, [1, 1])],
    ["one zone with callers", [3, 3], callers(0, [6])],
    ["no caller in the own zone", [3, 3], callers(5, [1, 1])],
    ["fewer endpoints than the least", [2, 3], callers(0, [1, 1])],
  ])("zones do not count with %s", (_, upstream, from) => {
    expect(zoneShares(sizes(upstream), from, 6)).toBeUndefined();
  });
});

/**
 * Envoy's own procedure, a call at a time (`tryChooseLocalLocalityHosts`): every outcome of its dice, counted. Returns how many of
 * `10_000 × spare` outcomes end in each locality.
 */
function outcomes(upstream: readonly number[], own: number, local: readonly number[]): number[] | undefined {
  const percent = (counts: readonly number[], at: number): number => {
    const all = counts.reduce((sum, each) => sum + each, 0);
    return all === 0 ? 0 : Math.floor((10_000 * (counts[at] ?? 0)) / all);
  };
  const held = upstream.map((_, at) => percent(upstream, at));
  const wanted = upstream.map((count, at) => (count === 0 ? 0 : percent(local, at)));
  if (held[own] !== undefined && held[own] > 0 && held[own] >= wanted[own]!)
    return upstream.map((_, at) => (at === own ? 1 : 0));
  const stay = held[own] === undefined || wanted[own] === 0 ? 0 : Math.floor((held[own] * 10_000) / wanted[own]!);
  const capacity: number[] = [];
  for (const at of upstream.keys()) {
    const spare = at === own ? 0 : Math.max(0, held[at]! - wanted[at]!);
    capacity.push((capacity[at - 1] ?? 0) + spare);
  }
  const last = capacity.at(-1)!;
  if (last === 0) return undefined;
  const counts = upstream.map(() => 0);
  for (let threshold = 0; threshold < last; threshold++) {
    let at = 0;
    while (threshold >= capacity[at]!) at++;
    counts[at] = counts[at]! + (10_000 - stay);
  }
  if (stay > 0) counts[own] = stay * last;
  return counts;
}

describe("properties", () => {
  const counts = fc.array(fc.nat({ max: 12 }), { minLength: 2, maxLength: 5 });

  it("every zone gets the calls that it would get from Envoy, outcome for outcome of its dice", () => {
    fc.assert(
      fc.property(counts, counts, fc.nat({ max: 4 }), (upstream, local, own) => {
        fc.pre(own < local.length && local[own]! > 0);
        const shares = zoneShares(sizes(upstream), callers(own, local), 0)!;
        const expected = outcomes(upstream, own, local);
        if (expected === undefined) return;
        const sum = shares.reduce((total, each) => total + each, 0);
        const all = expected.reduce((total, each) => total + each, 0);
        for (const [at, each] of expected.entries()) expect(shares[at]! / sum).toBeCloseTo(each / all, 9);
      }),
      { seed: 45, numRuns: 300 },
    );
  });

  it("nobody without endpoints gets calls, and if all callers do so every endpoint gets as many", () => {
    fc.assert(
      fc.property(counts, counts, (upstream, local) => {
        const total = upstream.reduce((sum, each) => sum + each, 0);
        fc.pre(total > 0 && local.some((each) => each > 0));
        const got = upstream.map(() => 0);
        const all = local.reduce((sum, each) => sum + each, 0);
        for (const [own, count] of local.entries()) {
          if (count === 0) continue;
          const shares = zoneShares(sizes(upstream), callers(own, local), 0)!;
          const sum = shares.reduce((added, each) => added + each, 0);
          for (const [at, each] of shares.entries()) got[at] = got[at]! + (count / all) * (each / sum);
        }
        for (const [at, each] of upstream.entries()) {
          if (each === 0) expect(got[at]).toBe(0);
          // Envoy rounds down in ten-thousandths.
          else expect(Math.abs(got[at]! - each / total)).toBeLessThan(0.01);
        }
      }),
      { seed: 46, numRuns: 1_000 },
    );
  });
});

interface Setup {
  readonly upstream: { readonly ready: number; readonly sick?: number }[][];
  readonly local?: { readonly ready: number; readonly sick?: number }[] | undefined;
  readonly zoneAware?: Partial<ZoneAwareConfig>;
  readonly panicPercent?: number;
  readonly balancer?: BalancerConfig;
}

/** Picks by `priority/zone`, or the code of an error. The caller is in zone 0. */
function tally({ upstream, local, zoneAware, panicPercent = 0, balancer = { kind: "random" } }: Setup, picks = 20_000) {
  const level = (zones: Setup["upstream"][number], priority: number) =>
    zones.map(({ ready, sick = 0 }, zone) =>
      locality(
        Array.from({ length: ready + sick }, (_, at) =>
          endpoint(`10.${priority}.${zone}.${at}:80`, { health: at < sick ? "unhealthy" : "healthy" }),
        ),
        // A weight that must not count.
        { zone: `${zone}`, weight: 1 + zone * 100 },
      ),
    );
  const built = new Cluster(
    cluster("c", {
      priorities: upstream.map(level),
      panicPercent,
      balancer,
      zoneAware: {
        routingPercent: 100,
        minClusterSize: 6,
        failOnPanic: false,
        local: local && { locality: place(0), endpoints: { name: "local", priorities: [level(local, 9)], drops: [] } },
        ...zoneAware,
      },
    }),
    testEnv(),
    new State(),
  );
  const counts = new Map<string, number>();
  const call = makeCall();
  for (let i = 0; i < picks; i++) {
    const picked = built.picker.pick(call);
    const key = picked instanceof MeshError ? picked.code : picked.config.address.split(".").slice(1, 3).join("/");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function expectShares(counts: ReadonlyMap<string, number>, shares: Readonly<Record<string, number>>): void {
  const keys = Object.keys(shares);
  expect([...counts.keys()].sort()).toEqual(keys.sort());
  const sum = [...counts.values()].reduce((total, each) => total + each, 0);
  const weight = Object.values(shares).reduce((total, each) => total + each, 0);
  const statistic = chiSquare(
    keys.map((key) => counts.get(key)!),
    keys.map((key) => (sum * shares[key]!) / weight),
  );
  expect(statistic).toBeLessThan(chiSquareLimit(Math.max(1, keys.length - 1)));
}

describe("a cluster", () => {
  const even = [{ ready: 1 }, { ready: 1 }];

  it("keeps calls in the zone, and sends away what it cannot hold", () => {
    expectShares(tally({ upstream: [[{ ready: 4 }, { ready: 4 }]], local: even }), { "0/0": 1 });
    expectShares(tally({ upstream: [[{ ready: 2 }, { ready: 6 }]], local: even }), { "0/0": 1, "0/1": 1 });
  });

  it("looks at those that take traffic, and at the health of the callers", () => {
    const sick = [{ ready: 2, sick: 4 }, { ready: 6 }];
    expectShares(tally({ upstream: [sick], local: even }), { "0/0": 1, "0/1": 1 });
    const upstream = [[{ ready: 4 }, { ready: 4 }]];
    expectShares(tally({ upstream, local: [{ ready: 1, sick: 3 }, { ready: 3 }] }), { "0/0": 1 });
    expectShares(tally({ upstream, local: [{ ready: 3 }, { ready: 1 }] }), { "0/0": 2, "0/1": 1 });
  });

  it("spreads over all alike where zones do not count, whatever the weights of localities say", () => {
    const upstream = [[{ ready: 2 }, { ready: 6, sick: 5 }]];
    const alike = { "0/0": 2, "0/1": 6 };
    expectShares(tally({ upstream, local: undefined }), alike);
    expectShares(tally({ upstream, local: even, zoneAware: { minClusterSize: 9 } }), alike);
    expectShares(tally({ upstream, local: even, zoneAware: { routingPercent: 0 } }), alike);
    expectShares(tally({ upstream, local: [{ ready: 5 }] }), alike);
  });

  it("looks at zones for a part of the calls only", () => {
    const counts = tally({ upstream: [[{ ready: 4 }, { ready: 4 }]], local: even, zoneAware: { routingPercent: 40 } });
    expectShares(counts, { "0/0": 70, "0/1": 30 });
  });

  it("counts zones in the first priority alone", () => {
    const upstream = [[{ ready: 0, sick: 4 }], [{ ready: 2 }, { ready: 6 }]];
    expectShares(tally({ upstream, local: even }), { "1/0": 2, "1/1": 6 });
  });

  it("uses all endpoints in panic, or none if it is to fail", () => {
    const upstream = [
      [
        { ready: 1, sick: 3 },
        { ready: 1, sick: 3 },
      ],
    ];
    const setup: Setup = { upstream, local: even, panicPercent: 50, zoneAware: { minClusterSize: 1 } };
    expectShares(tally(setup), { "0/0": 1, "0/1": 1 });
    const strict = { minClusterSize: 1, failOnPanic: true };
    expectShares(tally({ ...setup, zoneAware: strict }), { NO_HEALTHY_ENDPOINT: 1 });
    // No panic: nothing fails.
    expectShares(tally({ ...setup, panicPercent: 10, zoneAware: strict }), { "0/0": 1 });
  });

  it("does not trust what it knows of callers of which most are sick", () => {
    const local = [
      { ready: 1, sick: 2 },
      { ready: 1, sick: 2 },
    ];
    const setup: Setup = { upstream: [[{ ready: 4 }, { ready: 4 }]], local, panicPercent: 50 };
    expectShares(tally(setup), { "0/0": 1, "0/1": 1 });
    const strict = { failOnPanic: true, routingPercent: 60 };
    expectShares(tally({ ...setup, zoneAware: strict }), { NO_HEALTHY_ENDPOINT: 60, "0/0": 20, "0/1": 20 });
    // Where zones would not count anyway, nobody asks how the callers are.
    const small = { failOnPanic: true, minClusterSize: 9 };
    expectShares(tally({ ...setup, zoneAware: small }), { "0/0": 1, "0/1": 1 });
  });

  it("has no effect on hashing", () => {
    const balancer = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined } as const;
    const counts = tally({ upstream: [[{ ready: 4 }, { ready: 4 }]], local: even, balancer }, 2_000);
    expect([...counts.keys()].sort()).toEqual(["0/0", "0/1"]);
  });
});
