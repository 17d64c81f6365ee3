import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../../test/kit/call.ts";
import { testEnv } from "../../../../../test/kit/env.ts";
import { cluster, endpoint, endpoints } from "../../../../../test/kit/mesh-config.ts";
import type { BalancerConfig, EndpointConfig, SlowStartConfig } from "../../config.ts";
import { BARRED } from "../endpoint-load.ts";
import { State } from "../../state.ts";
import { Cluster } from "../cluster.ts";
import type { Endpoint } from "../endpoint.ts";
import { rampedShare } from "./slow-start.ts";
import { held } from "../../../test/held.ts";

const ramp: SlowStartConfig = { windowMs: 60_000, minPercent: 10, aggression: 1 };
const young = endpoint("10.9.9.9:80");

describe("the share of a young endpoint", () => {
  it("grows in a line with its age, from the minimum to all", () => {
    const share = (ageMs: number) => rampedShare(ramp, ageMs);
    expect([0, 3_000, 6_000, 30_000, 59_999, 60_000, 1e9].map(share)).toEqual([
      0.1,
      0.1,
      0.1,
      0.5,
      59_999 / 60_000,
      1,
      1,
    ]);
  });

  it("aggression bends the line: more of it gives more in the beginning", () => {
    expect(rampedShare({ ...ramp, aggression: 2 }, 15_000)).toBeCloseTo(0.5);
    expect(rampedShare({ ...ramp, aggression: 0.5 }, 30_000)).toBeCloseTo(0.25);
  });

  it("a minimum of nothing is not never", () => {
    expect(rampedShare({ ...ramp, minPercent: 0 }, 0)).toBeCloseTo(1 / 60_000);
  });
});

describe.each<BalancerConfig>([
  { kind: "round_robin", slowStart: ramp },
  { kind: "least_request", choices: 2, slowStart: ramp },
])("$kind with slow start", (balancer) => {
  const env = () => testEnv();

  /** The share of the picks that go to the young one; nothing is in flight meanwhile. */
  function share(of: Cluster, nowMs: number, picks = 2_000): number {
    const call = makeCall({ startMs: nowMs });
    let count = 0;
    for (let i = 0; i < picks; i++) if ((of.picker.pick(call) as Endpoint).config.address === young.address) count++;
    return count / picks;
  }

  function grown(after: EndpointConfig = young) {
    const world = env();
    const state = new State();
    const old = new Cluster(cluster("c", { endpoints: endpoints(9), balancer }), world, state);
    world.clock.advance(100_000);
    const built = new Cluster(cluster("c", { endpoints: [...endpoints(9), after], balancer }), world, state);
    old.dispose();
    return { built, state, clock: world.clock };
  }

  it("follows the ramp: at half of the window the young one has half of a part, then all of it", () => {
    const { built, clock } = grown();
    expect(share(built, clock.now())).toBeCloseTo(0.1 / 9.1, 2);
    clock.advance(30_000);
    expect(share(built, clock.now())).toBeCloseTo(0.5 / 9.5, 2);
    clock.advance(30_000);
    expect(share(built, clock.now(), 10_000)).toBeCloseTo(0.1, 1);
  });

  it("its age survives a swap of the configuration, and weights multiply", () => {
    const { built, state, clock } = grown();
    clock.advance(30_000);
    const list = [...endpoints(9), { ...young, weight: 2 }];
    const next = new Cluster(cluster("c", { endpoints: list, balancer }), { ...env(), clock }, state);
    built.dispose();
    expect(share(next, clock.now())).toBeCloseTo(1 / 10, 2);
  });

  it("where all are new, or all are old, there is no ramp", () => {
    const world = env();
    const all = new Cluster(cluster("c", { endpoints: [...endpoints(9), young], balancer }), world, new State());
    expect(share(all, world.clock.now(), 10_000)).toBeCloseTo(0.1, 1);
    const { clock, state } = grown();
    clock.advance(60_000);
    const settled = new Cluster(
      cluster("c", { endpoints: [...endpoints(9), young], balancer }),
      { ...env(), clock },
      state,
    );
    expect(share(settled, clock.now(), 10_000)).toBeCloseTo(0.1, 1);
  });

  it("an endpoint that was unhealthy, or failed its health checks, starts anew; an ejected one does not", () => {
    const { built, state, clock } = grown();
    clock.advance(90_000);
    const { load } = held(state.clusters.get("c")!, young.address);
    load.barred = BARRED.ejected;
    built.healthChanged();
    expect(share(built, clock.now())).toBe(0);
    load.barred = 0;
    built.healthChanged();
    expect(share(built, clock.now(), 10_000)).toBeCloseTo(0.1, 1);
    load.barred = BARRED.checkFailed;
    built.healthChanged();
    expect(share(built, clock.now())).toBe(0);
    load.barred = 0;
    built.healthChanged();
    expect(share(built, clock.now())).toBeCloseTo(0.1 / 9.1, 2);

    clock.advance(90_000);
    const ill = [...endpoints(9), { ...young, health: "unhealthy" as const }];
    const sick = new Cluster(cluster("c", { endpoints: ill, balancer }), { ...env(), clock }, state);
    const well = new Cluster(
      cluster("c", { endpoints: [...endpoints(9), young], balancer }),
      { ...env(), clock },
      state,
    );
    sick.dispose();
    expect(share(well, clock.now())).toBeCloseTo(0.1 / 9.1, 2);
  });
});
