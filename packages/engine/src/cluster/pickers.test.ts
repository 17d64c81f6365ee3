import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoint, endpoints, locality } from "../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../../test/kit/random.ts";
import { chiSquare, chiSquareLimit } from "../../../../test/kit/statistics.ts";
import type { BalancerConfig, EndpointConfig } from "../config.ts";
import { MeshError } from "../errors.ts";
import { State } from "../state.ts";
import { AliasTable } from "./alias.ts";
import { Cluster } from "./cluster.ts";
import type { Endpoint } from "./endpoint.ts";
import { Dice } from "./dice.ts";
import { rollDrops } from "./drops.ts";
import { held } from "../../test/held.ts";

const call = makeCall();
const balancers: BalancerConfig[] = [
  { kind: "round_robin" },
  { kind: "least_request", choices: 2 },
  { kind: "random" },
];

function build(options: ClusterOptions, state = new State(), seed = 1): Cluster {
  return new Cluster(cluster("c", options), testEnv({ seed }), state);
}

function pick(from: Cluster): Endpoint {
  const picked = from.picker.pick(call);
  if (picked instanceof MeshError) throw picked;
  return picked;
}

/** Picks by address; nothing is in flight meanwhile. */
function tally(from: Cluster, picks: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i < picks; i++) {
    const { address } = pick(from).config;
    counts.set(address, (counts.get(address) ?? 0) + 1);
  }
  return counts;
}

function countsOf(list: readonly EndpointConfig[], counts: ReadonlyMap<string, number>): number[] {
  return list.map(({ address }) => counts.get(address) ?? 0);
}

describe.each(balancers)("$kind", (balancer) => {
  it("spreads equal weights evenly (chi-square)", () => {
    const list = endpoints(20);
    const counts = countsOf(list, tally(build({ endpoints: list, balancer }), 20_000));
    expect(
      chiSquare(
        counts,
        list.map(() => 1),
      ),
    ).toBeLessThan(chiSquareLimit(19));
  });

  it("keeps to unequal weights (chi-square)", () => {
    const list = endpoints(12, (at) => ({ weight: 1 + at * at }));
    const counts = countsOf(list, tally(build({ endpoints: list, balancer }), 30_000));
    expect(
      chiSquare(
        counts,
        list.map(({ weight }) => weight),
      ),
    ).toBeLessThan(chiSquareLimit(11));
  });

  it("one huge weight neither starves nor overflows", () => {
    const list = endpoints(3, (at) => ({ weight: at === 0 ? 4_294_967_293 : 1 }));
    expect(countsOf(list, tally(build({ endpoints: list, balancer }), 1_000))[0]).toBeGreaterThan(995);
  });

  it("picks only what is healthy, whatever the set, and of the highest priority alone while that is whole", () => {
    const health = fc.constantFrom("healthy" as const, "draining" as const, "unhealthy" as const);
    const host = fc.record({ health, weight: fc.integer({ min: 1, max: 100 }) });
    const zones = fc.array(
      fc.record({ weight: fc.integer({ min: 1, max: 100 }), hosts: fc.array(host, { maxLength: 5 }) }),
      { maxLength: 3 },
    );
    fc.assert(
      fc.property(fc.array(zones, { maxLength: 3 }), fc.integer(), (set, seed) => {
        let serial = 0;
        const priorities = set.map((all) =>
          all.map(({ weight, hosts }, zone) =>
            locality(
              hosts.map((each) => endpoint(`10.0.0.${serial++}:80`, each)),
              { weight, zone: `z${zone}` },
            ),
          ),
        );
        const healthy = priorities.map((all) =>
          all.flatMap((each) => each.endpoints).filter((each) => each.health === "healthy"),
        );
        const first = healthy.findIndex((each) => each.length > 0);
        const whole =
          first >= 0 && priorities[first]!.flatMap((each) => each.endpoints).length === healthy[first]!.length;
        const expected = first < 0 ? undefined : whole ? healthy[first] : healthy.flat();
        const built = build({ priorities, balancer }, new State(), seed);
        for (let i = 0; i < 20; i++) {
          const picked = built.picker.pick(call);
          if (expected === undefined) expect(picked).toMatchObject({ code: "NO_HEALTHY_ENDPOINT" });
          else expect(expected).toContain((picked as Endpoint).config);
        }
      }),
      { seed: 11, numRuns: 200 },
    );
  });

  it("chooses a locality by its weight and an endpoint inside (R45)", () => {
    const zones = [
      locality([endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")], { zone: "a", weight: 3 }),
      locality([endpoint("10.0.1.1:80")], { zone: "b", weight: 1 }),
    ];
    const counts = tally(build({ priorities: [zones], balancer }), 20_000);
    const list = zones.flatMap((zone) => zone.endpoints);
    expect(chiSquare(countsOf(list, counts), [1.5, 1.5, 1])).toBeLessThan(chiSquareLimit(2));
  });

  it("an empty locality takes no share, and a set without endpoints answers at once", () => {
    const priorities = [[locality([], { weight: 99, zone: "a" }), locality([endpoint("10.0.0.1:80")], { zone: "b" })]];
    expect(pick(build({ priorities, balancer })).config.address).toBe("10.0.0.1:80");
    expect(build({ priorities: [], balancer }).picker.pick(call)).toMatchObject({ code: "NO_HEALTHY_ENDPOINT" });
  });
});

describe("round robin", () => {
  it("visits each once a turn", () => {
    const built = build({ endpoints: endpoints(5), balancer: { kind: "round_robin" } });
    for (let turn = 0; turn < 3; turn++) expect([...tally(built, 5).values()]).toEqual([1, 1, 1, 1, 1]);
  });

  it("goes on where it stood when the set changes: nobody begins again with the first", () => {
    const state = new State();
    const balancer: BalancerConfig = { kind: "round_robin" };
    const list = endpoints(5);
    const before = build({ endpoints: list, balancer }, state);
    while (pick(before).config !== list[2]);
    const after = build({ endpoints: [...list, endpoint("10.9.9.9:80")], balancer }, state);
    before.dispose();
    const cursor = state.clusters.get("c")!.cursors.get("0/r1/z1/")!.value;
    expect(after.picker.pick(call)).toMatchObject({ config: [...list, endpoint("10.9.9.9:80")][cursor % 6] });
  });

  it("weights interleave: no endpoint is taken twice in a row while another waits", () => {
    const list = [
      endpoint("10.0.0.1:80", { weight: 2 }),
      endpoint("10.0.0.2:80", { weight: 2 }),
      endpoint("10.0.0.3:80", { weight: 1 }),
    ];
    const built = build({ endpoints: list, balancer: { kind: "round_robin" } });
    let previous: EndpointConfig | undefined;
    for (let i = 0; i < 1_000; i++) {
      const { config } = pick(built);
      expect(config).not.toBe(previous);
      previous = config;
    }
  });
});

describe("least request", () => {
  it("goes round the busy one", () => {
    const built = build({ endpoints: endpoints(2) });
    const busy = pick(built);
    busy.load.active = 5;
    for (let i = 0; i < 100; i++) expect(pick(built)).not.toBe(busy);
  });

  it("levels the load: with what is picked kept in flight, nobody has more than a few above the mean", () => {
    const list = endpoints(50);
    const built = build({ endpoints: list });
    for (let i = 0; i < 5_000; i++) pick(built).load.active++;
    const state = Array.from({ length: 200 }, () => pick(built).load.active);
    expect(Math.max(...state)).toBeLessThanOrEqual(105);
  });

  it("more choices find the idle one more often", () => {
    const share = (choices: number): number => {
      const list = endpoints(10);
      const built = build({ endpoints: list, balancer: { kind: "least_request", choices } });
      const idle = pick(built);
      for (let i = 0; i < 500; i++) {
        const each = pick(built);
        if (each !== idle) each.load.active = 9;
      }
      idle.load.active = 0;
      return Array.from({ length: 1_000 }, () => pick(built)).filter((each) => each === idle).length / 1_000;
    };
    expect(share(2)).toBeCloseTo(0.2, 1);
    expect(share(5)).toBeGreaterThan(0.4);
  });

  it("with unequal weights load lowers the weight", () => {
    const list = [endpoint("10.0.0.1:80", { weight: 3 }), endpoint("10.0.0.2:80", { weight: 1 })];
    const state = new State();
    const built = build({ endpoints: list }, state);
    held(state.clusters.get("c")!, "10.0.0.1:80").load.active = 8;
    const counts = tally(built, 4_000);
    // 3 / (8 + 1) against 1.
    expect(counts.get("10.0.0.1:80")! / counts.get("10.0.0.2:80")!).toBeCloseTo(1 / 3, 1);
  });
});

describe("what survives a rebuild (law 6)", () => {
  it("the load of an endpoint does, while others come and go; what is gone leaves nothing behind", () => {
    const state = new State();
    const first = build({ endpoints: endpoints(3) }, state);
    const kept = pick(first);
    kept.load.active = 7;
    const second = build({ endpoints: [kept.config, endpoint("10.7.7.7:80")] }, state);
    first.dispose();
    const { endpoints: table } = state.clusters.get("c")!;
    expect(table.get(kept.config.address)).toBe(kept.load);
    expect(table.size).toBe(1);
    held(state.clusters.get("c")!, "10.7.7.7:80").load.active = 1;
    expect(table.size).toBe(2);
    second.dispose();
    expect(table.size).toBe(0);
    expect(state.clusters.size).toBe(0);
  });

  it("an endpoint that is unhealthy for a while keeps its count", () => {
    const state = new State();
    const one = endpoint("10.0.0.1:80");
    const first = build({ endpoints: [one] }, state);
    const { load } = pick(first);
    const second = build({ endpoints: [{ ...one, health: "unhealthy" }] }, state);
    first.dispose();
    const third = build({ endpoints: [one] }, state);
    second.dispose();
    expect(pick(third).load).toBe(load);
  });
});

describe("drops (R49)", () => {
  it("each category has its own roll, in order", () => {
    const random = seededRandom(3);
    const drops = [
      { category: "a", perMillion: 500_000 },
      { category: "b", perMillion: 500_000 },
    ];
    let a = 0;
    let b = 0;
    for (let i = 0; i < 10_000; i++) {
      const { message = "" } = rollDrops(drops, random) ?? {};
      if (message.includes("category a")) a++;
      if (message.includes("category b")) b++;
    }
    expect(chiSquare([a, b, 10_000 - a - b], [2, 1, 1])).toBeLessThan(chiSquareLimit(2));
  });

  it("a million of a million drops all", () => {
    expect(rollDrops([{ category: "all", perMillion: 1_000_000 }], () => 0.999_999_999)).toBeInstanceOf(MeshError);
    expect(rollDrops([{ category: "none", perMillion: 0 }], () => 0)).toBeUndefined();
  });
});

describe("AliasTable", () => {
  it("draws in proportion for any weights ", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4_294_967_295 }), { minLength: 1, maxLength: 40 }), (weights) => {
        const table = new AliasTable(weights);
        const dice = new Dice(seededRandom(9));
        const total = weights.reduce((a, b) => a + b, 0);
        const draws = 20_000;
        const counts = weights.map(() => 0);
        for (let i = 0; i < draws; i++) counts[table.draw(dice)]!++;
        // Five standard deviations of a binomial share.
        for (const [at, weight] of weights.entries()) {
          const share = weight / total;
          expect(Math.abs(counts[at]! / draws - share)).toBeLessThan(
            5 * Math.sqrt((share * (1 - share)) / draws) + 1e-9,
          );
        }
      }),
      { seed: 5, numRuns: 60 },
    );
  });
});
