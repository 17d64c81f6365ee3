import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import type { CallOptions } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { MockPeer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import { Admission } from "./admission.ts";
import type { AdmissionConfig } from "./admission.ts";
import { GradientLimit } from "./gradient.ts";
import type { GradientConfig } from "./gradient.ts";

const gradient: GradientConfig = {
  maxConcurrency: 1_000,
  minConcurrency: 3,
  updateIntervalMs: 100,
  percentile: 50,
  minRttIntervalMs: 60_000,
  jitterPercent: 0,
  minRttRequests: 50,
  bufferPercent: 25,
};

function world(config: Partial<AdmissionConfig> = {}) {
  const env = testEnv();
  const off = { loopDelayMs: undefined, utilization: undefined, concurrency: undefined, exempt: ["/healthz"] };
  const admission = new Admission({ ...off, ...config }, env);
  const peer = new MockPeer();
  const service = admission.layer(peer.service);
  const go = (call: CallOptions = {}): TestSink => {
    const sink = new TestSink();
    service(makeCall({ side: "inbound", ...call }), sink);
    return sink;
  };
  const refused = (of: number): number =>
    Array.from({ length: of }, () => go()).filter((sink) => sink.status === 503).length;
  return { env, admission, peer, go, refused };
}

describe("load of the event loop", () => {
  it("refuses a growing share, all at twice the delay, and nothing again when it is over", () => {
    const { admission, refused } = world({ loopDelayMs: 100 });
    expect(refused(100)).toBe(0);
    admission.onLoad(100, 1);
    expect(refused(100)).toBe(0);
    admission.onLoad(150, 1);
    expect(Math.abs(refused(1_000) - 500)).toBeLessThan(80);
    admission.onLoad(200, 1);
    expect(refused(100)).toBe(100);
    admission.onLoad(20, 1);
    expect(refused(100)).toBe(0);
  });

  it("or by how busy it is; the worse of the two counts", () => {
    const { admission, refused } = world({ loopDelayMs: 100, utilization: 0.9 });
    admission.onLoad(0, 0.95);
    expect(Math.abs(refused(1_000) - 500)).toBeLessThan(80);
    admission.onLoad(200, 0.95);
    expect(refused(100)).toBe(100);
  });

  it("answers as Envoy does, HTTP and gRPC, and never refuses who asks for its health", () => {
    const { admission, go, peer } = world({ loopDelayMs: 100 });
    admission.onLoad(1_000, 1);
    const http = go();
    expect(http.status).toBe(503);
    expect(http.head?.headers.get("x-envoy-overloaded")).toBe("true");
    const grpc = go({ protocol: "grpc", method: "POST", path: "/shop.Reviews/Get" });
    expect(grpc.status).toBe(200);
    expect(grpc.head?.headers.get("grpc-status")).toBe("14");
    expect(peer.exchanges).toHaveLength(0);
    for (const path of ["/healthz", "/healthz?full", "/grpc.health.v1.Health/Check"]) go({ path });
    expect(peer.exchanges).toHaveLength(3);
  });
});

describe("adaptive concurrency", () => {
  it("begins with the least, holds to the limit, and counts what is under way to its last event", () => {
    const { peer, go, admission } = world({ concurrency: gradient });
    expect(admission.limit).toBe(3);
    const sinks = [go(), go(), go(), go()];
    expect(sinks.map(({ status }) => status)).toEqual([undefined, undefined, undefined, 503]);
    peer.exchanges[0]!.head(200);
    expect(go().status).toBe(503);
    peer.exchanges[0]!.end();
    peer.exchanges[1]!.fail("RESET");
    expect(go().status).toBeUndefined();
    expect(go().status).toBeUndefined();
    expect(go().status).toBe(503);
  });

  it("obeys the laws of a layer", () => {
    const { admission } = world({ concurrency: { ...gradient, minConcurrency: 1_000, maxConcurrency: 10_000 } });
    checkServiceLaws(({ peer }) => admission.layer(peer.service));
  });
});

describe("the gradient", () => {
  /** A server that takes `baseMs` for each of `capacity` requests at once, and more by the queue, always asked for all it admits. */
  function simulate(capacity: number, baseMs: number, forMs: number, limit = new GradientLimit(gradient, () => 0, 0)) {
    let nowMs = 0;
    while (nowMs < forMs) {
      limit.tick(nowMs);
      const latencyMs = baseMs * Math.max(1, limit.limit / capacity);
      const started = nowMs;
      nowMs += latencyMs;
      for (let i = 0; i < limit.limit; i++) limit.sample(started, nowMs);
    }
    return limit;
  }

  it("measures the latency without queues, then finds about what the server can hold", () => {
    const limit = simulate(40, 10, 20_000);
    expect(limit.minRttMs).toBe(10);
    // Where latency is a quarter above the least, plus the headroom that keeps it growing.
    expect(limit.limit).toBeGreaterThan(40);
    expect(limit.limit).toBeLessThan(80);
  });

  it("grows to its maximum while latency does not rise, and at most doubles or halves in a step", () => {
    expect(simulate(100_000, 10, 20_000).limit).toBe(1_000);
    const limit = new GradientLimit({ ...gradient, minRttRequests: 1 }, () => 0, 0);
    limit.sample(0, 10);
    const step = (at: number, ms: number): number => {
      limit.sample(at, at + ms);
      limit.tick(at + 100);
      return limit.limit;
    };
    // 3 × 1.25 + √3.75; 5 × 2 (not 12.5) + √10; 13 × 0.5 (not 0.0125) + √6.5.
    expect([step(100, 10), step(200, 1), step(300, 1_000)]).toEqual([5, 13, 9]);
  });

  it("measures anew after its interval, with the least admitted meanwhile, and goes on where it stood", () => {
    const limit = simulate(40, 10, 5_000);
    const before = limit.limit;
    limit.tick(70_000);
    expect(limit.limit).toBe(3);
    // What began before says nothing of a server without queues.
    for (let i = 0; i < 100; i++) limit.sample(69_000, 70_010);
    expect(limit.limit).toBe(3);
    for (let i = 0; i < 50; i++) limit.sample(70_000, 70_020);
    expect(limit.limit).toBe(before);
    expect(limit.minRttMs).toBe(20);
  });

  it("measures anew when the least is all it finds five times in a row", () => {
    const limit = new GradientLimit({ ...gradient, minRttRequests: 1 }, () => 0, 0);
    limit.sample(0, 10);
    for (let at = 100; at < 1_000; at += 100) {
      limit.sample(at, at + 500);
      limit.tick(at + 100);
    }
    limit.sample(2_000, 2_500);
    expect(limit.minRttMs).toBe(500);
  });
});
