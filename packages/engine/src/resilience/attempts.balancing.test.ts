import { expect, test } from "vitest";
import { endpoints } from "../../../../test/kit/mesh-config.ts";
import type { Exchange } from "../../../../test/kit/peer.ts";
import { world } from "../../test/attempt-world.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import type { BalancerConfig } from "../config.ts";
import { RouteKey, compileHash } from "../hash/call-key.ts";
import { held } from "../../test/held.ts";

const ring: BalancerConfig = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined };

test("a repeated call with a key goes to the next endpoint of its key, the same one each time", () => {
  const retry = { retries: 1, retryOn: ["5xx"], avoidPreviousHosts: true };
  const script = Array.from({ length: 6 }, (_, at) => (one: Exchange) => void one.answer(at % 2 === 0 ? 503 : 200));
  const { env, peer, make, send, compiled } = world(retry, script, { endpoints: endpoints(10), balancer: ring });
  const policy = { kind: "header", name: "user", rewrite: undefined, terminal: false } as const;
  const plan = compileHash([policy], env, () => ({ value: 1 }))!;
  for (let round = 0; round < 3; round++) {
    const call = make({ headers: { user: "jason" } });
    call.key = new RouteKey(plan);
    const { sink } = send(call);
    env.clock.advance(100);
    expect(sink.status).toBe(200);
    const home = (selection: number): string => (compiled.picker.pick(call, selection) as Endpoint).config.address;
    const next = [1, 2, 3, 4, 5].map(home).find((address) => address !== home(0));
    expect(peer.tried.slice(-2)).toEqual([home(0), next]);
  }
  expect(new Set(peer.tried).size).toBe(2);
});

test("peak EWMA learns from attempts: the time to the head, failures, and the pause that they ask for", () => {
  const balancer: BalancerConfig = { kind: "peak_ewma", decayMs: 10_000, defaultRttMs: 10, penaltyMs: 5_000 };
  const { env, peer, go, counts, idle } = world(undefined, [], { endpoints: endpoints(1), balancer });
  const { load } = held(counts, endpoints(1)[0]!.address);
  const measured = (afterMs: number, end: (exchange: Exchange) => void, protocol: "http" | "grpc" = "http"): number => {
    load.latency.atMs = -1;
    go({ protocol });
    env.clock.advance(afterMs);
    end(peer.next());
    idle();
    return load.latency.ms;
  };
  expect(measured(40, (one) => one.answer(200))).toBe(40);
  expect(measured(30, (one) => one.answer(404))).toBe(30);
  expect(measured(3, (one) => one.answer(503))).toBe(5_000);
  expect(measured(3, (one) => one.answer(503, "", { "retry-after": "20" }))).toBe(20_000);
  expect(measured(3, (one) => one.answer(429, "", { "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT" }))).toBe(5_000);
  expect(measured(3, (one) => one.fail("CONNECT_FAILED", false))).toBe(5_000);
  expect(measured(7, (one) => one.head(200).end({ "grpc-status": "0" }), "grpc")).toBe(7);
  const stream = (one: Exchange): void => {
    one.head(200);
    expect(load.latency.ms).toBe(9);
    env.clock.advance(60_000);
    one.end({ "grpc-status": "0" });
  };
  expect(measured(9, stream, "grpc")).toBe(9);
  const pushed = { "grpc-status": "14", "grpc-retry-pushback-ms": "9000" };
  expect(measured(7, (one) => one.head(200).end(pushed), "grpc")).toBe(9_000);
});
