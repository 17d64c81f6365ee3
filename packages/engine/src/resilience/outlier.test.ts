import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { endpoints, outlier } from "../../../../test/kit/mesh-config.ts";
import { MeshError } from "../errors.ts";
import { OutlierModel } from "../../test/outlier-model.ts";
import { OutlierWorld } from "../../test/outlier-world.ts";
import { successRateThreshold } from "./outlier-rates.ts";

const half = { maxEjectionPercent: 50 };

describe("failures in a row", () => {
  it("eject an endpoint at once, for every picker, and it is back after its time, in a sweep", () => {
    const world = new OutlierWorld({ ...half, probing: false });
    world.answer(3, 500, 4);
    expect(world.ejected).toEqual([]);
    world.answer(3, 503);
    expect(world.ejected).toEqual([3]);
    expect(world.picked()).not.toContain(world.addresses[3]);
    world.env.clock.advance(29_999);
    expect(world.ejected).toEqual([3]);
    world.env.clock.advance(1);
    expect(world.ejected).toEqual([]);
    expect(world.picked().size).toBe(10);
  });

  it("are broken by any other answer", () => {
    const world = new OutlierWorld(half);
    for (let i = 0; i < 10; i++) {
      world.answer(0, 500, 4);
      world.answer(0, 404);
    }
    expect(world.ejected).toEqual([]);
  });

  it("count failures of our own side as what Envoy would answer", () => {
    for (const code of ["CONNECT_FAILED", "TLS_FAILED", "RESET", "REFUSED", "TIMEOUT", "PER_TRY_TIMEOUT"] as const) {
      const world = new OutlierWorld({
        ...half,
        consecutive5xx: 0,
        consecutiveGatewayFailure: 3,
        enforcingConsecutiveGatewayFailure: 100,
      });
      world.fail(0, code, 3);
      expect(world.ejected, code).toEqual([0]);
    }
  });

  it("count gRPC statuses like the HTTP codes of the same meaning", () => {
    const bad = [2, 4, 12, 13, 14, 15];
    for (let status = 0; status <= 16; status++) {
      const world = new OutlierWorld(half);
      world.grpc(0, status, 5);
      expect(world.ejected, `status ${status}`).toEqual(bad.includes(status) ? [0] : []);
    }
  });

  it("leave out what says nothing of the endpoint, and forget nothing for it either", () => {
    const world = new OutlierWorld(half);
    world.answer(0, 500, 4);
    world.fail(0, "ABORTED", 20, false);
    expect(world.ejected).toEqual([]);
    world.answer(0, 500);
    expect(world.ejected).toEqual([0]);
  });

  it("are counted apart for our own side when they are split", () => {
    const world = new OutlierWorld({ ...half, splitLocalOrigin: true, consecutiveLocalOrigin: 3 });
    world.answer(0, 500, 4);
    world.fail(0, "CONNECT_FAILED", 2);
    world.answer(1, 500, 2);
    world.fail(1, "RESET", 2);
    expect(world.ejected).toEqual([]);
    world.answer(0, 500);
    world.fail(1, "PER_TRY_TIMEOUT");
    expect(world.ejected).toEqual([0, 1]);
  });

  it("are of the statuses that the policy names, whichever they are", () => {
    const world = new OutlierWorld({ ...half, errorStatuses: [{ from: 429, to: 429 }] });
    world.answer(0, 500, 9);
    world.answer(1, 429, 5);
    expect(world.ejected).toEqual([1]);
    world.fail(0, "CONNECT_FAILED", 5);
    expect(world.ejected).toEqual([0, 1]);
  });

  it("eject only with the chance that is given", () => {
    let ejected = 0;
    const world = new OutlierWorld(
      { maxEjectionPercent: 100, enforcingConsecutive5xx: 30 },
      { endpoints: endpoints(400) },
    );
    for (let at = 0; at < 400; at++) world.answer(at, 500, 5);
    ejected = world.ejected.length;
    // Five standard deviations of 120.
    expect(Math.abs(ejected - 120)).toBeLessThan(46);
  });
});

describe("how many may be out (R50)", () => {
  it.each([
    { of: 10, percent: 10, out: 1 },
    { of: 9, percent: 10, out: 0 },
    { of: 4, percent: 50, out: 2 },
    { of: 3, percent: 34, out: 1 },
    { of: 3, percent: 100, out: 3 },
    { of: 3, percent: 0, out: 0 },
  ])("$percent % of $of are $out, taken strictly as Envoy does", ({ of, percent, out }) => {
    const world = new OutlierWorld({ maxEjectionPercent: percent }, { endpoints: endpoints(of) });
    for (let at = 0; at < of; at++) world.answer(at, 500, 5);
    expect(world.ejected).toHaveLength(out);
  });

  it("one may always be, where that is asked for", () => {
    const world = new OutlierWorld({ alwaysEjectOne: true }, { endpoints: endpoints(3) });
    for (let at = 0; at < 3; at++) world.answer(at, 500, 5);
    expect(world.ejected).toEqual([0]);
  });

  it("with all of them out calls are refused at once", () => {
    const world = new OutlierWorld({ maxEjectionPercent: 100 }, { endpoints: endpoints(2) });
    for (let at = 0; at < 2; at++) world.answer(at, 500, 5);
    expect([...world.picked()]).toEqual(["NO_HEALTHY_ENDPOINT"]);
  });
});

describe("the time out", () => {
  it("grows with each ejection up to the maximum, and falls with each sweep in peace", () => {
    const world = new OutlierWorld({ ...half, probing: false, maxEjectionMs: 70_000 });
    const outMs = (): number => {
      world.answer(0, 500, 5);
      let ms = 0;
      for (; world.ejected.length > 0; ms += 10_000) world.env.clock.advance(10_000);
      return ms;
    };
    expect([outMs(), outMs(), outMs(), outMs()]).toEqual([30_000, 60_000, 70_000, 70_000]);
    world.env.clock.advance(30_000);
    // Four ejections, the last of which no longer grew it; three sweeps in peace: one is left, and this is the second.
    expect(outMs()).toBe(60_000);
    world.env.clock.advance(200_000);
    expect(outMs()).toBe(30_000);
  });

  it("has so much chance added as is given", () => {
    const world = new OutlierWorld(
      { maxEjectionPercent: 100, maxEjectionJitterMs: 60_000, probing: false },
      { endpoints: endpoints(100) },
    );
    for (let at = 0; at < 100; at++) world.answer(at, 500, 5);
    world.env.clock.advance(30_000);
    const first = world.ejected.length;
    world.env.clock.advance(30_000);
    const second = world.ejected.length;
    world.env.clock.advance(30_000);
    expect(first).toBeGreaterThan(second);
    expect(second).toBeGreaterThan(10);
    expect(world.ejected).toEqual([]);
  });

  it("runs no timer while there is nothing to do, and keeps the rhythm all the same", () => {
    const world = new OutlierWorld({
      ...half,
      probing: false,
      successRate: { ...outlier().successRate, enforcing: 0, enforcingLocalOrigin: 0 },
    });
    expect(world.env.clock.pending).toBe(0);
    world.env.clock.advance(14_000);
    world.answer(0, 500, 5);
    world.env.clock.advance(35_999);
    expect(world.ejected).toEqual([0]);
    world.env.clock.advance(1);
    expect(world.ejected).toEqual([]);
    world.env.clock.advance(20_000);
    expect(world.env.clock.pending).toBe(0);
  });
});

describe("rates", () => {
  it("Envoy's example of a threshold", () => {
    expect(successRateThreshold([50, 100, 100, 100, 100], 1_900)).toBeCloseTo(52, 9);
  });

  it("eject in the sweep those far below the mean, when enough of them have enough requests", () => {
    const world = new OutlierWorld({ consecutive5xx: 0 });
    for (let at = 0; at < 10; at++) {
      world.answer(at, 200, at === 4 ? 40 : 99);
      world.answer(at, 500, at === 4 ? 60 : 1);
    }
    expect(world.ejected).toEqual([]);
    world.env.clock.advance(10_000);
    expect(world.ejected).toEqual([4]);
  });

  it("eject those that fail too large a share", () => {
    const failurePercentage = { ...outlier().failurePercentage, enforcing: 100 };
    const world = new OutlierWorld({ ...half, consecutive5xx: 0, failurePercentage });
    for (let at = 0; at < 10; at++) {
      world.answer(at, 200, at < 2 ? 7 : 50);
      world.answer(at, 500, at < 2 ? 43 : 0);
    }
    world.env.clock.advance(10_000);
    expect(world.ejected).toEqual([0, 1]);
  });
});

describe("what outlives a snapshot (law 6)", () => {
  it("a change of configuration or endpoints neither pardons nor resets", () => {
    const world = new OutlierWorld({ ...half, probing: false });
    world.answer(0, 500, 5);
    world.answer(1, 500, 4);
    world.publish({ endpoints: endpoints(11) });
    expect(world.ejected).toEqual([0]);
    world.publish({ outlier: outlier({ ...half, probing: false, baseEjectionMs: 50_000 }) });
    world.answer(1, 500);
    expect(world.ejected).toEqual([0, 1]);
    world.env.clock.advance(40_000);
    expect(world.ejected).toEqual([0, 1]);
    world.env.clock.advance(10_000);
    expect(world.ejected).toEqual([]);
  });

  it("an endpoint that is gone is nobody's any more, and no longer counts for the share", () => {
    const world = new OutlierWorld(half, { endpoints: endpoints(4) });
    world.answer(2, 500, 5);
    world.answer(3, 500, 5);
    world.publish({ endpoints: endpoints(2) });
    world.answer(0, 500, 5);
    expect(world.ejected).toEqual([0]);
  });

  it("an attempt that ends at an endpoint that is gone ejects nobody", () => {
    const world = new OutlierWorld({ maxEjectionPercent: 100 }, { endpoints: endpoints(4) });
    const gone = world.endpoint(3);
    world.publish({ endpoints: endpoints(3) });
    for (let i = 0; i < 5; i++) world.cluster.attemptEnded(gone, 500, -1, undefined, -1, true);
    expect(gone.load.barred).toBe(0);
  });

  it("without detection in the newest configuration everybody is back, and no timer is left", () => {
    const world = new OutlierWorld(half);
    world.answer(0, 500, 5);
    world.publish({ outlier: undefined });
    expect(world.ejected).toEqual([]);
    expect(world.picked().size).toBe(10);
    expect(world.env.clock.pending).toBe(0);
  });

  it("leaves nothing behind when the cluster goes", () => {
    const world = new OutlierWorld(half);
    world.answer(0, 500, 5);
    world.cluster.dispose();
    expect(world.env.clock.pending).toBe(0);
    expect(world.state.clusters.size).toBe(0);
  });
});

describe("properties", () => {
  const config = fc.record({
    consecutive5xx: fc.integer({ min: 0, max: 4 }),
    enforcingConsecutive5xx: fc.constantFrom(0, 100),
    consecutiveGatewayFailure: fc.integer({ min: 0, max: 4 }),
    enforcingConsecutiveGatewayFailure: fc.constantFrom(0, 100),
    splitLocalOrigin: fc.boolean(),
    consecutiveLocalOrigin: fc.integer({ min: 0, max: 4 }),
    enforcingConsecutiveLocalOrigin: fc.constantFrom(0, 100),
    intervalMs: fc.constantFrom(1_000, 3_000, 10_000),
    baseEjectionMs: fc.constantFrom(1_000, 5_000, 30_000),
    maxEjectionMs: fc.constantFrom(30_000, 65_000),
    maxEjectionPercent: fc.constantFrom(0, 10, 34, 50, 100),
    alwaysEjectOne: fc.boolean(),
    successRate: fc.record({
      minHosts: fc.integer({ min: 1, max: 4 }),
      requestVolume: fc.integer({ min: 1, max: 4 }),
      stdevFactor: fc.constantFrom(500, 1_000, 1_900),
      enforcing: fc.constantFrom(0, 100),
      enforcingLocalOrigin: fc.constantFrom(0, 100),
    }),
    failurePercentage: fc.record({
      threshold: fc.constantFrom(30, 50, 85),
      minHosts: fc.integer({ min: 1, max: 4 }),
      requestVolume: fc.integer({ min: 1, max: 4 }),
      enforcing: fc.constantFrom(0, 100),
      enforcingLocalOrigin: fc.constantFrom(0, 100),
    }),
  });
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ host: fc.nat({ max: 5 }), status: fc.constantFrom(200, 404, 500, 501, 503, 504) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        host: fc.nat({ max: 5 }),
        error: fc.constantFrom("CONNECT_FAILED" as const, "TIMEOUT" as const),
      }),
    },
    { weight: 2, arbitrary: fc.record({ seconds: fc.integer({ min: 1, max: 40 }) }) },
  );

  it("who is out, and when, is what the slow model says; and no pick ever meets one who is out", () => {
    fc.assert(
      fc.property(
        config,
        fc.integer({ min: 1, max: 6 }),
        fc.array(step, { minLength: 20, maxLength: 120 }),
        (policy, hosts, steps) => {
          const whole = outlier({ ...policy, probing: false });
          const world = new OutlierWorld(whole, { endpoints: endpoints(hosts) });
          const model = new OutlierModel(whole, hosts, world.env.clock.now());
          for (const each of steps) {
            if ("seconds" in each) {
              world.env.clock.advance(each.seconds * 1_000);
              model.advance(each.seconds * 1_000);
            } else if (each.host < hosts) {
              const code = "status" in each ? each.status : new MeshError(each.error, "").status;
              if ("status" in each) world.answer(each.host, each.status);
              else world.fail(each.host, each.error);
              model.end({ host: each.host, code, local: !("status" in each) });
            }
            // Compared as texts: an expectation for each step would take seconds.
            const expected = model.ejected.flatMap((out, at) => (out ? [at] : []));
            if (String(world.ejected) !== String(expected)) expect(world.ejected).toEqual(expected);
            const picked = world.picked(3);
            for (const at of expected) if (picked.has(world.addresses[at]!)) expect(picked).not.toContain(at);
          }
          world.cluster.dispose();
          expect(world.env.clock.pending).toBe(0);
        },
      ),
      { seed: 50, numRuns: 150 },
    );
  });
});
