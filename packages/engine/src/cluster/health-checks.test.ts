import { describe, expect, it } from "vitest";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoints, healthCheck, outlier } from "../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../../test/kit/random.ts";
import type { HealthCheckConfig } from "../config.ts";
import type { HealthAnswer } from "../env.ts";
import { BARRED } from "./endpoint-load.ts";
import { State } from "../state.ts";
import { Cluster } from "./cluster.ts";
import { held } from "../../test/held.ts";

interface Asked {
  readonly address: string;
  readonly done: (answer: HealthAnswer) => void;
  cancelled: boolean;
}

/** A cluster whose endpoints are asked; the test answers, or `answer` does at once. */
class CheckWorld {
  readonly asked: Asked[] = [];
  answer: HealthAnswer | undefined;
  readonly env = testEnv({
    random: seededRandom(4),
    prober: {
      ask: (_cluster, { address }, done) => {
        const asked: Asked = { address, done, cancelled: false };
        this.asked.push(asked);
        if (this.answer !== undefined) done(this.answer);
        return { cancel: () => void (asked.cancelled = true) };
      },
    },
  });
  readonly state = new State();
  cluster: Cluster;
  #options: ClusterOptions;

  constructor(how: Partial<HealthCheckConfig> = {}, options: ClusterOptions = {}, answer?: HealthAnswer) {
    this.answer = answer;
    this.#options = { endpoints: endpoints(1), healthCheck: healthCheck(how), ...options };
    this.cluster = new Cluster(cluster("c", this.#options), this.env, this.state);
    this.state.clusters.get("c")!.called = true;
    this.env.clock.advance(0);
  }

  publish(options: ClusterOptions): void {
    const before = this.cluster;
    this.#options = { ...this.#options, ...options };
    this.cluster = new Cluster(cluster("c", this.#options), this.env, this.state);
    before.dispose();
    this.env.clock.advance(0);
  }

  /** Answers the last question, and lets the interval pass. */
  reply(answer: HealthAnswer): void {
    this.asked.at(-1)!.done(answer);
    this.env.clock.advance(1_000);
  }

  get failing(): string[] {
    const { endpoints: loads } = this.state.clusters.get("c")!;
    return endpoints(200)
      .map(({ address }) => address)
      .filter((address) => ((loads.get(address)?.barred ?? 0) & BARRED.checkFailed) !== 0);
  }
}

describe("thresholds", () => {
  it("the first answer decides alone, then so many in a row", () => {
    const world = new CheckWorld();
    const after = (answer: HealthAnswer): boolean => {
      world.reply(answer);
      return world.failing.length === 0;
    };
    expect(world.failing).toEqual([]);
    expect([after("failed"), after("well"), after("well")]).toEqual([false, false, true]);
    expect([after("failed"), after("failed"), after("well")]).toEqual([true, true, true]);
    expect([after("failed"), after("failed"), after("failed")]).toEqual([true, true, false]);
    expect([after("well"), after("failed"), after("well"), after("well")]).toEqual([false, false, false, true]);
  });

  it("a bad answer needs no second one, and none at all counts for nothing", () => {
    const world = new CheckWorld();
    world.reply("well");
    for (let i = 0; i < 5; i++) world.reply("unknown");
    expect(world.failing).toEqual([]);
    world.reply("bad");
    expect(world.failing).toHaveLength(1);
  });

  it("one that fails is not picked, and one that succeeds ends an ejection", () => {
    const world = new CheckWorld({}, { endpoints: endpoints(2), outlier: outlier({ maxEjectionPercent: 50 }) }, "well");
    const at = held(world.state.clusters.get("c")!, "10.0.0.1:80");
    const { load } = at;
    for (let i = 0; i < 5; i++) world.cluster.attemptEnded(at, 500, -1, undefined, -1, true);
    expect(load.barred).toBe(BARRED.ejected);
    world.env.clock.advance(1_000);
    expect(load.barred).toBe(0);
    world.answer = "bad";
    world.env.clock.advance(1_000);
    expect(load.barred).toBe(BARRED.checkFailed);
  });
});

describe("times", () => {
  it("what takes too long has failed, unless our own loop was blocked", () => {
    const world = new CheckWorld({ unhealthyThreshold: 1, timeoutMs: 300 });
    world.reply("well");
    world.env.clock.block(500);
    expect(world.asked.at(-1)!.cancelled).toBe(true);
    expect(world.failing).toEqual([]);
    world.env.clock.advance(1_000);
    world.env.clock.advance(300);
    expect(world.failing).toHaveLength(1);
    // Too late to be heard.
    world.asked.at(-1)!.done("well");
    expect(world.failing).toHaveLength(1);
  });

  it("intervals by state, edges and traffic, as in Envoy", () => {
    const how = {
      intervalMs: 1_000,
      unhealthyIntervalMs: 200,
      unhealthyEdgeIntervalMs: 100,
      healthyEdgeIntervalMs: 50,
      noTrafficIntervalMs: 9_000,
      noTrafficHealthyIntervalMs: 8_000,
      unhealthyThreshold: 1,
      healthyThreshold: 1,
    };
    const world = new CheckWorld(how);
    const nextAfter = (answer: HealthAnswer): number => {
      const before = world.asked.length;
      world.asked.at(-1)!.done(answer);
      for (let ms = 0; ; ms += 50) {
        if (world.asked.length > before) return ms;
        world.env.clock.advance(50);
      }
    };
    expect([nextAfter("well"), nextAfter("well")]).toEqual([50, 1_000]);
    expect([nextAfter("failed"), nextAfter("failed")]).toEqual([100, 200]);
    world.state.clusters.get("c")!.called = false;
    expect([nextAfter("failed"), nextAfter("well")]).toEqual([9_000, 8_000]);
  });

  it("jitter spreads the first checks and the others", () => {
    const world = new CheckWorld(
      { initialJitterMs: 1_000, intervalJitterPercent: 100 },
      { endpoints: endpoints(100) },
      "well",
    );
    world.env.clock.advance(500);
    expect(world.asked.length).toBeGreaterThan(30);
    expect(world.asked.length).toBeLessThan(70);
  });

  it("no more than 64 at a time, and everybody gets his turn", () => {
    const world = new CheckWorld({}, { endpoints: endpoints(200) });
    expect(world.asked).toHaveLength(64);
    for (let at = 0; at < world.asked.length; at++) world.asked[at]!.done("well");
    expect(new Set(world.asked.map(({ address }) => address)).size).toBe(200);
  });
});

describe("what outlives a snapshot (law 6)", () => {
  it("who stays is not asked anew, who comes is, and who goes is forgotten", () => {
    const world = new CheckWorld({ unhealthyThreshold: 1 }, { endpoints: endpoints(2) });
    for (const asked of world.asked) asked.done("failed");
    world.publish({ endpoints: [endpoints(3)[1]!, endpoints(3)[2]!] });
    expect(world.asked.slice(2).map(({ address }) => address)).toEqual(["10.0.0.2:80"]);
    expect(world.failing).toEqual(["10.0.0.1:80"]);
  });

  it("a cluster whose making is given up leaves the checks as they were, wherever that is", () => {
    const world = new CheckWorld({}, { endpoints: endpoints(2) }, "well");
    const many = cluster("c", { endpoints: endpoints(900).slice(1), healthCheck: healthCheck() });
    let whole = 0;
    for (const made = Cluster.of(many, world.env, world.state); ; whole++) {
      const { done, value } = made.next();
      if (done !== true) continue;
      value.dispose();
      break;
    }
    expect(whole).toBeGreaterThan(10);
    for (let slices = 1; slices <= whole; slices++) {
      const work = Cluster.of(many, world.env, world.state);
      for (let i = 0; i < slices; i++) work.next();
      work.return(world.cluster);
      world.asked.length = 0;
      world.env.clock.advance(60_000);
      expect(new Set(world.asked.map(({ address }) => address))).toEqual(new Set(["10.0.0.0:80", "10.0.0.1:80"]));
    }
    world.cluster.dispose();
    expect(world.env.clock.pending).toBe(0);
  });

  it("without checks in the newest configuration all are well again, and nothing is left running", () => {
    const world = new CheckWorld({}, {}, "failed");
    expect(world.failing).toHaveLength(1);
    world.publish({ healthCheck: undefined });
    expect(world.failing).toEqual([]);
    expect(world.env.clock.pending).toBe(0);
    world.publish({ healthCheck: healthCheck() });
    world.answer = undefined;
    world.env.clock.advance(1_000);
    world.cluster.dispose();
    expect(world.asked.at(-1)!.cancelled).toBe(true);
    expect(world.env.clock.pending).toBe(0);
    expect(world.state.clusters.size).toBe(0);
  });
});
