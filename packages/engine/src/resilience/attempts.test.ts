import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import type { CallOptions } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoints, retryPolicy } from "../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../test/kit/mesh-config.ts";
import { answers, fails, waits } from "../../../../test/kit/peer.ts";
import type { Answer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import { Cluster } from "../cluster/cluster.ts";
import type { RetryPolicy } from "../config.ts";
import { State } from "../state.ts";
import { sendToCluster } from "./attempts.ts";
import { RetryPlan } from "./retry-policy.ts";
import { world } from "../../test/attempt-world.ts";

it("the head of a gRPC answer is not held back from a caller that may yet send", () => {
  const { peer, go } = world({ retryOn: ["unavailable"] }, [waits, waits]);
  const open = { canReplay: () => true, isOpen: () => true };
  const { sink } = go({ protocol: "grpc", method: "POST", body: open });
  peer.next().head(200);
  expect(sink.events).toEqual(["head"]);
  const { sink: whole } = go({ protocol: "grpc", method: "POST" });
  peer.exchanges[1]!.head(200);
  expect(whole.events).toEqual([]);
});

describe("one attempt", () => {
  it("passes an answer on and counts it from pick to last event", () => {
    const { peer, counts, go, idle } = world(undefined, [waits]);
    const { call, sink } = go();
    expect(counts.requests).toBe(1);
    peer.next().head(200).data("hello").end({ "x-t": "1" });
    expect(sink.events).toEqual(["head", "data", "end"]);
    expect(sink.text).toBe("hello");
    expect(call.record).toMatchObject({ attempts: 1, endpoint: peer.exchanges[0]!.attempt!.endpoint, flag: "-" });
    idle();
  });

  it("without a policy repeats nothing", () => {
    const { peer, go, idle } = world(undefined, [answers(503)]);
    expect(go().sink.status).toBe(503);
    expect(peer.exchanges).toHaveLength(1);
    idle();
  });

  it("an answer without a head is a protocol error", () => {
    const { peer, go, idle } = world(undefined, [waits]);
    const { sink } = go();
    peer.next().end();
    expect(sink.error?.code).toBe("PROTOCOL_ERROR");
    idle();
  });

  it("a transport that throws leaks nothing", () => {
    const { go, idle } = world(undefined, []);
    const { sink } = go({
      transport: {
        send() {
          throw new Error("bug");
        },
      },
    });
    expect(sink.error).toMatchObject({ code: "INTERNAL", message: "bug" });
    idle();
  });

  it("refuses what came too late, without sending it", () => {
    const { env, peer, compiled } = world(undefined, []);
    const call = makeCall({ transport: peer });
    call.deadlineMs = env.clock.now();
    const sink = new TestSink();
    sendToCluster(call, sink, compiled, undefined);
    expect(sink.error).toMatchObject({ code: "TIMEOUT", sent: false });
    expect(peer.exchanges).toHaveLength(0);
  });
});

const limited = { "x-envoy-ratelimited": "true" };

describe("what is retried", () => {
  const cases: [string, string[], Answer, CallOptions, boolean][] = [
    ["503 of a GET under 5xx", ["5xx"], answers(503), {}, true],
    ["500 under gateway-error", ["gateway-error"], answers(500), {}, false],
    ["502 under gateway-error", ["gateway-error"], answers(502), {}, true],
    ["409 under retriable-4xx", ["retriable-4xx"], answers(409), {}, true],
    ["404 under retriable-4xx", ["retriable-4xx"], answers(404), {}, false],
    ["425 named as a code", ["retriable-status-codes"], answers(425), {}, true],
    ["503 of a POST", ["5xx"], answers(503), { method: "POST" }, false],
    [
      "503 of a POST with an Idempotency-Key",
      ["5xx"],
      answers(503),
      { method: "POST", headers: { "Idempotency-Key": "k" } },
      true,
    ],
    ["503 of a PATCH", ["5xx"], answers(503), { method: "PATCH" }, false],
    ["503 of a DELETE", ["5xx"], answers(503), { method: "DELETE" }, true],
    ["a refused connection of a POST", ["connect-failure"], fails("CONNECT_FAILED", false), { method: "POST" }, true],
    ["a TLS failure under connect-failure", ["connect-failure"], fails("TLS_FAILED", false), {}, true],
    ["a refused stream", ["refused-stream"], fails("REFUSED", false), { method: "POST" }, true],
    ["a refused stream under connect-failure", ["connect-failure"], fails("REFUSED", false), {}, false],
    ["a reset of a POST that went out", ["reset"], fails("RESET"), { method: "POST" }, false],
    ["a reset of a GET that went out", ["reset"], fails("RESET"), {}, true],
    ["a reset of a GET that went out, under reset-before-request", ["reset-before-request"], fails("RESET"), {}, false],
    ["a reset of a POST before it went out", ["reset-before-request"], fails("RESET", false), { method: "POST" }, true],
    ["a reset under 5xx", ["5xx"], fails("RESET"), {}, true],
    ["503 of a rate limit under 5xx", ["5xx"], answers(503, undefined, limited), {}, false],
    ["429 of a rate limit under envoy-ratelimited", ["envoy-ratelimited"], answers(429, undefined, limited), {}, true],
    ["503 of a rate limit under both", ["5xx", "envoy-ratelimited"], answers(503, undefined, limited), {}, true],
    ["429 of somebody else under envoy-ratelimited", ["envoy-ratelimited"], answers(429), {}, false],
    ["503 under http3-post-connect-failure", ["http3-post-connect-failure"], answers(503), {}, false],
    ["a reset under http3-post-connect-failure", ["http3-post-connect-failure"], fails("RESET"), {}, false],
    ["retriable-headers without any", ["retriable-headers"], answers(503, undefined, { "x-again": "1" }), {}, false],
    [
      "gRPC unavailable of a rate limit",
      ["unavailable"],
      answers(200, undefined, { "grpc-status": "14", ...limited }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    ["an overflow", ["5xx", "reset"], fails("OVERFLOW", false), {}, false],
    ["a body that is gone", ["connect-failure"], fails("CONNECT_FAILED", false), { replay: false }, false],
    [
      "gRPC unavailable, trailers only",
      ["unavailable"],
      answers(200, undefined, { "grpc-status": "14" }),
      { protocol: "grpc", method: "POST" },
      true,
    ],
    [
      "gRPC internal under unavailable",
      ["unavailable"],
      answers(200, undefined, { "grpc-status": "13" }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    [
      "gRPC unavailable in the trailers",
      ["unavailable"],
      (e) => void e.head(200).end({ "grpc-status": "14" }),
      { protocol: "grpc", method: "POST" },
      true,
    ],
    [
      "gRPC ok in the trailers",
      ["unavailable"],
      (e) => void e.head(200).end({ "grpc-status": "0" }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    [
      "gRPC unavailable after a message",
      ["unavailable"],
      (e) => void e.head(200).data().end({ "grpc-status": "14" }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    [
      "a refused connection of a gRPC call, under unavailable",
      ["unavailable"],
      fails("CONNECT_FAILED", false),
      { protocol: "grpc", method: "POST" },
      true,
    ],
    [
      "a lost connection of a gRPC call that went out",
      ["unavailable"],
      fails("RESET"),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    [
      "gRPC pushback that forbids",
      ["unavailable"],
      answers(200, undefined, { "grpc-status": "14", "grpc-retry-pushback-ms": "-1" }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
    [
      "gRPC pushback that is no number",
      ["unavailable"],
      answers(200, undefined, { "grpc-status": "14", "grpc-retry-pushback-ms": "soon" }),
      { protocol: "grpc", method: "POST" },
      false,
    ],
  ];
  it.each(cases)("%s", (_name, retryOn, first, call, retried) => {
    const { env, peer, go, idle } = world({ retryOn, statusCodes: [425] }, [first, answers(200, "ok")]);
    const { sink, call: made } = go(call);
    env.clock.advance(5_000);
    expect(peer.exchanges).toHaveLength(retried ? 2 : 1);
    expect(made.record.attempts).toBe(retried ? 2 : 1);
    if (retried) expect(sink.text).toBe("ok");
    expect(sink.over).toBe(true);
    expect(sink.breaches).toEqual([]);
    idle();
  });

  it("the server's own pause replaces the back-off", () => {
    const headers = { "grpc-status": "14", "grpc-retry-pushback-ms": "700" };
    const { env, peer, go } = world({ retryOn: ["unavailable"] }, [answers(200, undefined, headers)]);
    go({ protocol: "grpc", method: "POST" });
    env.clock.advance(699);
    expect(peer.exchanges).toHaveLength(1);
    env.clock.advance(1);
    expect(peer.exchanges).toHaveLength(2);
  });

  it("gives the last answer and says URX when the retries are used up", () => {
    const { env, peer, go, idle } = world({ retries: 2 }, [answers(503, "a"), answers(503, "b"), answers(503, "c")]);
    const { sink, call } = go();
    env.clock.advance(5_000);
    expect(peer.exchanges).toHaveLength(3);
    expect(sink).toMatchObject({ status: 503, text: "c", events: ["head", "data", "end"] });
    expect(call.record).toMatchObject({ flag: "URX", attempts: 3 });
    idle();
  });

  it("gives the last error when the retries are used up", () => {
    const { env, go, idle } = world({ retries: 1, retryOn: ["reset"] }, [fails("RESET"), fails("RESET")]);
    const { sink, call } = go();
    env.clock.advance(5_000);
    expect(sink.error?.code).toBe("RESET");
    expect(call.record.flag).toBe("URX");
    idle();
  });

  it("never after the first byte", () => {
    const { env, peer, go, idle } = world({ retryOn: ["5xx", "reset"] }, [waits]);
    const { sink } = go();
    peer.next().head(200).fail("RESET");
    env.clock.advance(5_000);
    expect(sink.events).toEqual(["head", "error"]);
    expect(peer.exchanges).toHaveLength(1);
    idle();
  });

  it("asks the body at the time of the failure", () => {
    let whole = true;
    const { env, peer, go } = world({ retryOn: ["reset"] }, [waits]);
    go({ replay: () => whole });
    whole = false;
    peer.next().fail("RESET", false);
    env.clock.advance(1_000);
    expect(peer.exchanges).toHaveLength(1);
  });

  it("a peer that answers at once for ever does not grow the stack", () => {
    const { env, peer, go, idle } = world({ retries: 5_000, backoffMaxMs: 1, backoffBaseMs: 1 }, []);
    const { sink } = go({
      transport: { send: (attempt, to) => (peer.send(attempt, to), peer.next().answer(503), undefined) },
    });
    env.clock.advance(60_000);
    expect(sink.over).toBe(true);
    expect(peer.exchanges).toHaveLength(5_001);
    idle();
  });
});

describe("endpoints of retries", () => {
  it("avoids those that were tried", () => {
    const script = [answers(503), answers(503), answers(503)];
    const { env, peer, go } = world({ retries: 3, avoidPreviousHosts: true, hostSelectionAttempts: 50 }, script, {
      endpoints: endpoints(4),
    });
    go();
    env.clock.advance(5_000);
    expect(new Set(peer.tried).size).toBe(4);
  });

  it("finds the one other though every pick falls on the dead one, which is always the least loaded", () => {
    const { env, peer, go } = world(
      { retries: 1, retryOn: ["connect-failure"], avoidPreviousHosts: true, hostSelectionAttempts: 3 },
      [waits, waits, waits, fails("CONNECT_FAILED", false), answers(200)],
      { endpoints: endpoints(2), balancer: { kind: "least_request", choices: 2 } },
    );
    for (let i = 0; i < 4; i++) go();
    env.clock.advance(5_000);
    expect(peer.tried[4]).not.toBe(peer.tried[3]);
  });

  it("takes a tried one when there is no other", () => {
    const { env, peer, go } = world({ retries: 1, avoidPreviousHosts: true }, [answers(503), answers(200)], {
      endpoints: endpoints(1),
    });
    const { sink } = go();
    env.clock.advance(5_000);
    expect(sink.status).toBe(200);
    expect(peer.tried[0]).toBe(peer.tried[1]);
  });
});

describe("abort", () => {
  const reason = new Error("the user went home");
  it("during back-off ends the wait", () => {
    const { env, peer, go, idle } = world({}, [answers(503)]);
    const { call, sink } = go();
    call.abort(reason);
    expect(sink.error?.cause).toBe(reason);
    env.clock.advance(5_000);
    expect(peer.exchanges).toHaveLength(1);
    idle();
  });

  it("before the start sends nothing", () => {
    const { peer, compiled } = world({}, []);
    const call = makeCall({ transport: peer });
    call.abort(reason);
    const sink = new TestSink();
    sendToCluster(call, sink, compiled, undefined);
    expect(sink.error?.cause).toBe(reason);
    expect(peer.exchanges).toHaveLength(0);
  });

  it("reaches the upstream and comes back with the caller's reason, even from a transport that never answers", () => {
    const { go, idle } = world({}, []);
    const seen: unknown[] = [];
    const silent = {
      send: (attempt: { bind(h: { abort(e: Error): void }): void }) =>
        attempt.bind({ abort: (e) => void seen.push(e.cause) }),
    };
    const { call, sink } = go({ transport: silent });
    call.abort(reason);
    call.abort(new Error("again"));
    expect(seen).toEqual([reason]);
    expect(sink.error?.cause).toBe(reason);
    idle();
  });
});

describe("the laws, in random orders", () => {
  const policies: [string, Partial<RetryPolicy> | undefined, CallOptions, ClusterOptions][] = [
    ["no policy", undefined, {}, {}],
    ["GET", { retryOn: ["5xx", "reset", "connect-failure"], retries: 3, avoidPreviousHosts: true }, {}, {}],
    [
      "POST with per-try time-out",
      { retryOn: ["5xx", "connect-failure"], perTryTimeoutMs: 120 },
      { method: "POST" },
      {},
    ],
    [
      "gRPC",
      { retryOn: ["unavailable", "cancelled", "connect-failure"], retries: 4, perTryTimeoutMs: 300 },
      { protocol: "grpc", method: "POST" },
      {},
    ],
    [
      "scarce limits",
      { retryOn: ["5xx"], retries: 4 },
      {},
      { breaker: { maxRequests: 1, retryBudget: { percent: 20, minConcurrency: 1 } } },
    ],
  ];
  it.each(policies)("%s", (_name, policy, call, options) => {
    const state = new State();
    const config = cluster("c", { endpoints: endpoints(4), ...options });
    const plan = policy === undefined ? undefined : new RetryPlan(retryPolicy(policy), testEnv());
    checkServiceLaws(
      ({ env }) => {
        const compiled = new Cluster(config, env, state);
        return (each, sink) => sendToCluster(each, sink, compiled, plan);
      },
      {
        call,
        runs: 1_000,
        after: ({ peer }, outcome) => {
          const counts = state.clusters.get("c")!;
          expect(counts).toMatchObject({ requests: 0, retries: 0 });
          for (const { address } of config.endpoints.priorities.flat().flatMap((each) => each.endpoints))
            expect(counts.endpoints.get(address)?.active ?? 0).toBe(0);
          expect(peer.exchanges.length).toBeLessThanOrEqual((policy?.retries ?? 2) + 1);
          expect(outcome.call.record.attempts).toBe(peer.exchanges.length);
        },
      },
    );
  });
});
