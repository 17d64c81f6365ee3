import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../../test/kit/call.ts";
import { testEnv } from "../../../../../test/kit/env.ts";
import { cluster, endpoints } from "../../../../../test/kit/mesh-config.ts";
import type { PeakEwmaConfig } from "../../config.ts";
import { MeshError } from "../../errors.ts";
import { State } from "../../state.ts";
import type { Latency } from "../endpoint-load.ts";
import { Cluster } from "../cluster.ts";
import type { Endpoint } from "../endpoint.ts";
import { measured } from "./peak-ewma.ts";

const balancer: PeakEwmaConfig = { kind: "peak_ewma", decayMs: 10_000, defaultRttMs: 10, penaltyMs: 5_000 };

describe("the measure", () => {
  const fresh = (): Latency => ({ ms: 0, atMs: -1 });

  it("takes the first as it is and a peak at once; a fall decays", () => {
    const latency = fresh();
    measured(latency, 20, 0, 10_000);
    expect(latency.ms).toBe(20);
    measured(latency, 100, 5_000, 10_000);
    expect(latency.ms).toBe(100);
    measured(latency, 0, 15_000, 10_000);
    expect(latency.ms).toBeCloseTo(100 / Math.E);
    measured(latency, 0, 25_000, 10_000);
    expect(latency.ms).toBeCloseTo(100 / Math.E ** 2);
  });

  it("stays within what was measured", () => {
    const samples = fc.array(fc.record({ ms: fc.double({ min: 0, max: 1e4, noNaN: true }), after: fc.nat(5_000) }), {
      minLength: 1,
    });
    fc.assert(
      fc.property(samples, (list) => {
        const latency = fresh();
        let now = 0;
        for (const { ms, after } of list) measured(latency, ms, (now += after), 10_000);
        const all = list.map(({ ms }) => ms);
        expect(latency.ms).toBeGreaterThanOrEqual(Math.min(...all) - 1e-9);
        expect(latency.ms).toBeLessThanOrEqual(Math.max(...all) + 1e-9);
        expect(latency.ms).toBeGreaterThanOrEqual(all.at(-1)! - 1e-9);
      }),
      { seed: 6, numRuns: 200 },
    );
  });
});

describe("peak EWMA", () => {
  function world(n: number, weight: (at: number) => object = () => ({})) {
    const env = testEnv();
    const built = new Cluster(cluster("c", { endpoints: endpoints(n, weight), balancer }), env, new State());
    const all = new Map<string, Endpoint>();
    const pick = (): Endpoint => {
      const picked = built.picker.pick(makeCall()) as Endpoint;
      all.set(picked.config.address, picked);
      return picked;
    };
    // Whoever was seen is made to look busy until all were.
    while (all.size < n) pick().load.active = 1_000;
    for (const { load } of all.values()) load.active = 0;
    const list = [...all.values()].toSorted((a, b) => (a.config.address < b.config.address ? -1 : 1));
    const ended = (endpoint: Endpoint, ms: number, status = 200) => {
      built.attemptAnswered(endpoint, status, -1, ms);
      built.attemptEnded(endpoint, status, -1, undefined, ms, true, -1);
    };
    return { env, built, pick, list, ended };
  }
  const tally = (pick: () => Endpoint, of: Endpoint, picks = 1_000): number =>
    Array.from({ length: picks }, pick).filter((each) => each === of).length;

  it("of a pair the quicker one is taken, and load counts like latency", () => {
    const { pick, list, ended } = world(2);
    ended(list[0]!, 30);
    ended(list[1]!, 10);
    expect(tally(pick, list[0]!)).toBe(0);
    list[1]!.load.active = 5;
    expect(tally(pick, list[1]!)).toBe(0);
    list[0]!.load.active = 1;
    list[1]!.load.active = 4;
    expect(tally(pick, list[1]!)).toBe(1_000);
  });

  it("weights divide the cost", () => {
    const { pick, list, ended } = world(2, (at) => ({ weight: at === 0 ? 4 : 1 }));
    ended(list[0]!, 30);
    ended(list[1]!, 10);
    expect(tally(pick, list[0]!)).toBe(1_000);
  });

  it("what fails fast does not look fast, and is tried again when the penalty has faded", () => {
    const { env, pick, list, ended } = world(2);
    ended(list[0]!, 1, 503);
    ended(list[1]!, 50);
    expect(list[0]!.load.latency.ms).toBe(5_000);
    expect(tally(pick, list[0]!)).toBe(0);
    // 5000 ms fall under 50 ms in ten seconds × ln 100.
    env.clock.advance(40_000);
    ended(list[1]!, 50);
    expect(tally(pick, list[0]!)).toBe(0);
    env.clock.advance(10_000);
    ended(list[1]!, 50);
    expect(tally(pick, list[0]!)).toBe(1_000);
  });

  it("a new endpoint counts as the default until it is measured", () => {
    const { pick, list, ended } = world(2);
    ended(list[0]!, 11);
    expect(tally(pick, list[1]!)).toBe(1_000);
    ended(list[1]!, 12);
    expect(tally(pick, list[1]!)).toBe(0);
  });

  it("what counts as a failure, and how long it asked us to stay away", () => {
    const { built, list } = world(2);
    const { load } = list[0]!;
    const after = (status: number, grpc: number, error: MeshError | undefined, counts = true, asked = -1): number => {
      load.latency = { ms: 0, atMs: -1 };
      if (error === undefined) built.attemptAnswered(list[0]!, status, grpc, 7);
      built.attemptEnded(list[0]!, status, grpc, error, error === undefined ? 7 : -1, counts, asked);
      return load.latency.ms;
    };
    for (const status of [500, 503, 429, 599]) expect(after(status, -1, undefined)).toBe(5_000);
    for (const status of [200, 404, 409]) expect(after(status, -1, undefined)).toBe(7);
    for (const grpc of [4, 8, 13, 14, 15]) expect(after(200, grpc, undefined)).toBe(5_000);
    for (const grpc of [0, 2, 3, 5, 7]) expect(after(200, grpc, undefined)).toBe(7);
    expect(after(0, -1, new MeshError("CONNECT_FAILED", ""))).toBe(5_000);
    expect(after(0, -1, new MeshError("ABORTED", ""), false)).toBe(0);
    expect(after(503, -1, undefined, true, 20_000)).toBe(20_000);
    expect(after(503, -1, undefined, true, 1e9)).toBe(300_000);
    expect(after(503, -1, undefined, true, 0)).toBe(7);
  });

  it("under load it keeps the queue of a slow endpoint short", () => {
    const { env, pick, list, built } = world(5);
    // Each answers by its own time; the first is twenty times slower. Arrivals every 2 ms.
    const under: { endpoint: Endpoint; since: number; until: number }[] = [];
    const served = new Map(list.map((each) => [each, 0]));
    for (let i = 0; i < 5_000; i++) {
      env.clock.advance(2);
      const now = env.clock.now();
      for (const each of under.filter(({ until }) => until <= now)) {
        under.splice(under.indexOf(each), 1);
        each.endpoint.load.active--;
        built.attemptAnswered(each.endpoint, 200, -1, each.until - each.since);
      }
      const endpoint = pick();
      endpoint.load.active++;
      served.set(endpoint, served.get(endpoint)! + 1);
      under.push({ endpoint, since: now, until: now + (endpoint === list[0] ? 100 : 5) });
    }
    expect(served.get(list[0]!)! / 5_000).toBeLessThan(0.05);
    for (const other of list.slice(1)) expect(served.get(other)! / 5_000).toBeGreaterThan(0.2);
  });
});
