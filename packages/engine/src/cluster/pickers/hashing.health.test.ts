import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../../test/kit/call.ts";
import { type FakeClock, fakeClock } from "../../../../../test/kit/clock.ts";
import { testEnv } from "../../../../../test/kit/env.ts";
import { cluster, endpoints, locality } from "../../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../../test/kit/mesh-config.ts";
import type { BalancerConfig } from "../../config.ts";
import { compileHash, RouteKey } from "../../hash/call-key.ts";
import { BARRED } from "../endpoint-load.ts";
import { State } from "../../state.ts";
import { Cluster } from "../cluster.ts";
import type { Endpoint } from "../endpoint.ts";

const ring: BalancerConfig = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined };
const maglev: BalancerConfig = { kind: "maglev", tableSize: 5_003, balanceFactor: undefined };
const plan = compileHash([{ kind: "header", name: "user", rewrite: undefined, terminal: false }], testEnv(), () => ({
  value: 1,
}))!;
const calls = Array.from({ length: 150 }, (_, at) => {
  const call = makeCall({ headers: { user: `u${at}` } });
  call.key = new RouteKey(plan);
  return call;
});
const many = endpoints(2_500);

/** Each look at the clock takes longer than a part of the making may: so one part is made each time that a timer fires. */
function slowClock(): FakeClock {
  const clock = fakeClock();
  let looks = 0;
  return Object.assign(Object.create(clock) as FakeClock, {
    now: () => clock.now() + 10 * ++looks,
    after: (ms: number, fn: () => void) => clock.after(Math.max(1, ms), fn),
  });
}

function world(balancer: BalancerConfig, options: ClusterOptions = {}) {
  const clock = slowClock();
  const state = new State();
  const config = cluster("c", { balancer, endpoints: many, ...options });
  const built = new Cluster(config, testEnv({ clock }), state);
  const all = state.clusters.get("c")!.members[0]!.endpoints.flat();
  const health = (at: number, well: boolean): void => {
    all[at]!.load.barred = well ? 0 : BARRED.ejected;
    built.healthChanged();
  };
  const home = (at: number, selection = 0): Endpoint => built.picker.pick(calls[at]!, selection) as Endpoint;
  /** Lets a new table be made, and gives in how many parts that was. */
  const settle = (): number => {
    let parts = 0;
    for (void built.picker; clock.pending > 0; parts++) clock.advance(1);
    return parts;
  };
  return { clock, built, all, health, home, settle };
}

/** What a cluster picks of which the configuration says who is well. */
function fresh(balancer: BalancerConfig, all: readonly Endpoint[]): readonly string[] {
  const list = all.map(({ config, known }) => ({ ...config, health: known.barred === 0 ? "healthy" : "unhealthy" }));
  const built = new Cluster(cluster("c", { balancer, endpoints: list as never }), testEnv(), new State());
  return calls.map((call) => (built.picker.pick(call) as Endpoint).config.address);
}

describe.each([ring, maglev, { ...maglev, balanceFactor: 200 } as BalancerConfig])(
  "when the health of one of thousands changes, by $kind",
  (balancer) => {
    it("nobody who is barred is picked, and when the new table is made it is the one of a cluster that never knew better", () => {
      const change = fc.record({
        at: fc.array(fc.nat(many.length - 1), { minLength: 1, maxLength: 400, size: "max" }),
        well: fc.boolean(),
        parts: fc.nat(60),
      });
      fc.assert(
        fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
          const { clock, all, health, home, settle } = world(balancer);
          for (const { at, well, parts } of changes) {
            for (const each of at) health(each, well);
            for (let part = 0; part <= parts; part++) {
              const picked = home(part);
              if (picked.known.barred !== 0) throw new Error(`${picked.config.address} was picked`);
              clock.advance(1);
            }
          }
          settle();
          expect(calls.map((_, at) => home(at).config.address)).toEqual(fresh(balancer, all));
        }),
        { seed: 11, numRuns: 10 },
      );
    });

    it("it is made a part at a time, whatever changes meanwhile, and left to none when the cluster goes", () => {
      const { clock, built, all, health, home, settle } = world(balancer);
      for (let i = 0; i < 200; i++) {
        health((i * 11) % many.length, i % 3 === 0);
        void built.picker;
        clock.advance(1);
      }
      expect(settle()).toBeGreaterThan(5);
      expect(calls.map((_, at) => home(at).config.address)).toEqual(fresh(balancer, all));
      health(1_499, false);
      void built.picker;
      expect(clock.pending).toBe(1);
      built.dispose();
      expect(clock.pending).toBe(0);
      // A call that comes as late as that.
      health(1_498, false);
      for (let at = 0; at < calls.length; at++) expect(home(at).known.barred).toBe(0);
      expect(clock.pending).toBe(0);
    });

    it("if all whom the table knows are barred, one of the others is picked", () => {
      const { health, home, settle } = world(balancer);
      for (let at = 3; at < many.length; at++) health(at, false);
      settle();
      for (let at = 0; at < many.length; at++) health(at, at >= 3);
      for (let at = 0; at < calls.length; at++) expect(home(at).known.barred).toBe(0);
      settle();
      for (let at = 0; at < 3; at++) health(at, true);
      for (let at = 3; at < many.length; at++) health(at, false);
      for (let at = 0; at < calls.length; at++) expect(home(at).known.barred).toBe(0);
    });

    it("in panic all are picked from, at once, and outside of it none who is barred", () => {
      const { all, health, home, settle } = world(balancer, { panicPercent: 50 });
      for (let at = 0; at < 1_500; at++) health(at, false);
      // Those whom the old table has.
      expect(calls.some((_, at) => home(at).known.barred !== 0)).toBe(true);
      // It is of all of them already.
      expect(settle()).toBe(0);
      for (let at = 0; at < 400; at++) health(at, true);
      for (let at = 0; at < calls.length; at++) expect(home(at).known.barred).toBe(0);
      settle();
      expect(calls.map((_, at) => home(at).config.address)).toEqual(fresh(balancer, all));
    });
  },
);

it("on a ring of equal weights the pick is that of the new one at once, for each selection", () => {
  const { clock, built, all, health, home, settle } = world(ring);
  for (let at = 0; at < many.length; at += 10) health(at, false);
  const at = (selection: number): string[] => calls.map((_, call) => home(call, selection).config.address);
  const meanwhile = [0, 1, 4].map(at);
  expect(clock.pending).toBe(1);
  settle();
  expect([0, 1, 4].map(at)).toEqual(meanwhile);
  expect(meanwhile[0]).toEqual(fresh(ring, all));
  expect(built.config.balancer).toBe(ring);
});

it("a priority whose endpoints did not change keeps its table", () => {
  const two = [[locality(many)], [locality(endpoints(2_600, (at) => ({ address: `10.9.${at >> 8}.${at & 255}:80` })))]];
  const { health, home, settle } = world(ring, { priorities: two });
  for (let at = 0; at < 1_250; at++) health(at, false);
  // 140 percent of a half are 70: the second one is wanted for the first time, and made at once.
  const homes = calls.map((_, at) => home(at).config.address);
  expect(homes.filter((each) => each.startsWith("10.9.")).length).toBeGreaterThan(20);
  settle();
  for (let at = 2_500; at < 2_600; at++) health(at, false);
  expect(calls.map((_, at) => home(at)).every(({ known }) => known.barred === 0)).toBe(true);
  expect(settle()).toBeGreaterThan(0);
});
