import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../test/kit/call.ts";
import { testEnv } from "../../../test/kit/env.ts";
import { cluster, endpoint, meshConfig, outlier } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { Cluster } from "./cluster/cluster.ts";
import { compiling } from "./compile.ts";
import type { BalancerConfig } from "./config.ts";
import { createEngine } from "./engine.ts";
import { MeshError } from "./errors.ts";
import { finish, inTurns } from "./slices.ts";
import type { Sliced } from "./slices.ts";
import { BARRED } from "./cluster/endpoint-load.ts";
import { State } from "./state.ts";

const ring: BalancerConfig = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined };
const maglev: BalancerConfig = { kind: "maglev", tableSize: 65_537, balanceFactor: 150 };
const slow = { windowMs: 60_000, aggression: 1, minPercent: 10 };
const balancers: readonly BalancerConfig[] = [
  { kind: "least_request", choices: 2 },
  { kind: "least_request", choices: 2, slowStart: slow },
  { kind: "round_robin" },
  { kind: "random" },
  { kind: "peak_ewma", decayMs: 10_000, defaultRttMs: 30, penaltyMs: 5_000 } as BalancerConfig,
  ring,
  maglev,
];
const many = Array.from({ length: 4_000 }, (_, at) =>
  endpoint(`10.1.${at >> 8}.${at & 255}:80`, { weight: 1 + (at % 3) }),
);
const big = (more: ClusterOptions = {}): ReturnType<typeof meshConfig> =>
  meshConfig({ clusters: [cluster("big", { endpoints: many, ...more })] });
const small = meshConfig({ clusters: [cluster("small")] });

function steps(work: Sliced<unknown>, count: number): void {
  for (let i = 0; i < count; i++) expect(work.next().done).toBe(false);
}

describe("a configuration that comes into force in slices", () => {
  it("changes nothing before the last one, and then everything", () => {
    const engine = createEngine(testEnv(), small);
    const before = engine.current;
    const work = engine.publishing(big());
    let slices = 0;
    for (; work.next().done !== true; slices++) expect(engine.current).toBe(before);
    expect(slices).toBeGreaterThan(20);
    expect(engine.current.config.clusters.has("big")).toBe(true);
    expect(engine.current.version).toBe(before.version + 1);
  });

  it("of few endpoints is one slice, where no table is made of them", () => {
    for (const balancer of balancers.filter((each) => each !== ring && each !== maglev)) {
      const engine = createEngine(testEnv());
      const config = big({ endpoints: many.slice(0, 200), balancer });
      expect(engine.publishing(config).next().done, balancer.kind).toBe(true);
    }
  });

  it("is superseded by what is published meanwhile, and leaves nothing behind", () => {
    const engine = createEngine(testEnv(), small);
    for (const count of [1, 8, 20]) {
      const older = engine.publishing(big());
      steps(older, count);
      engine.publish(small);
      const { current } = engine;
      expect(older.next().done).toBe(true);
      expect(engine.current).toBe(current);
    }
    const older = engine.publishing(big());
    const newer = engine.publishing(big({ endpoints: many.slice(0, 1_000) }));
    steps(older, 3);
    finish(newer);
    finish(older);
    expect(engine.current.config.clusters.get("big")!.endpoints.priorities[0]![0]!.endpoints).toHaveLength(1_000);
  });

  it("holds nothing when it is given up, wherever that is (law 6)", () => {
    fc.assert(
      fc.property(fc.constantFrom(...balancers), fc.nat(60), fc.boolean(), (balancer, count, known) => {
        const env = testEnv();
        const state = new State();
        const first = finish(compiling(known ? big({ endpoints: many.slice(7), balancer }) : small, env, state));
        const held = (): unknown => [
          state.clusters.size,
          state.clusters.get("big")?.endpoints.size,
          state.clusters.get("big")?.members.length,
          state.clusters.get("big")?.cursors.size,
        ];
        const before = held();
        const work = compiling(big({ balancer, outlier: outlier() }), env, state, first);
        for (let i = 0; i < count; i++) if (work.next().done === true) return;
        work.return(first);
        expect(held()).toEqual(before);
        first.retire();
        expect(state.clusters.size).toBe(0);
      }),
      { numRuns: 60, seed: 3 },
    );
  });

  it("never picks an endpoint that was barred while it was made", () => {
    for (const balancer of balancers) {
      const state = new State();
      const env = testEnv();
      const old = new Cluster(cluster("big", { endpoints: many, balancer }), env, state);
      const all = state.clusters.get("big")!.members[0]!.endpoints[0]!;
      const work = Cluster.of(cluster("big", { endpoints: many.slice(1), balancer }), env, state);
      let made: Cluster | undefined;
      for (let at = 1; made === undefined; at++) {
        const { done, value } = work.next();
        if (done === true) made = value;
        all[at * 7]!.load.barred = BARRED.ejected;
        old.healthChanged();
      }
      const call = makeCall();
      for (let i = 0; i < 3_000; i++) {
        const picked = made.picker.pick(call);
        expect(picked).not.toBeInstanceOf(MeshError);
        if (!(picked instanceof MeshError)) expect(picked.load.barred).toBe(0);
      }
      made.dispose();
      old.dispose();
      expect(state.clusters.size).toBe(0);
    }
  });
});

describe("turns", () => {
  it("end when their time is over, and little work is done at once and without a promise", async () => {
    let nowMs = 0;
    let turns = 0;
    const next = async (): Promise<void> => void turns++;
    const work = function* (slices: number): Sliced<string> {
      for (let i = 0; i < slices; i++) {
        nowMs += 0.0625;
        yield undefined;
      }
      return "done";
    };
    expect(inTurns(work(3), () => nowMs, next)).toBe("done");
    expect(turns).toBe(0);
    await expect(inTurns(work(40), () => nowMs, next)).resolves.toBe("done");
    expect(turns).toBe(10);
  });

  it("reject with what the work throws", async () => {
    const work = function* (): Sliced<void> {
      yield undefined;
      throw new Error("of its own");
    };
    let nowMs = 0;
    await expect(
      inTurns(
        work(),
        () => nowMs++,
        async () => {},
      ),
    ).rejects.toThrow("of its own");
  });
});
