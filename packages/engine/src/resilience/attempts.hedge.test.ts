import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { endpoints, retryPolicy } from "../../../../test/kit/mesh-config.ts";
import { answers, fails, waits } from "../../../../test/kit/peer.ts";
import type { Answer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { cluster } from "../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../test/kit/mesh-config.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { Cluster } from "../cluster/cluster.ts";
import type { AttemptObserver } from "../cluster/observer.ts";
import type { HedgePolicy, RetryPolicy } from "../config.ts";
import { MeshError } from "../errors.ts";
import { State } from "../state.ts";
import { sendToCluster } from "./attempts.ts";
import { RetryPlan } from "./retry-policy.ts";
import { world } from "../../test/attempt-world.ts";

const after50: HedgePolicy = { onPerTryTimeout: false, delayMs: 50, percentile: undefined };
const onPerTry: HedgePolicy = { onPerTryTimeout: true, delayMs: undefined, percentile: undefined };

/** A hedged world whose observer writes down what counts. */
function hedged(
  hedge: HedgePolicy,
  policy: Partial<RetryPolicy> = {},
  script: Answer[] = [],
  options: ClusterOptions = {},
) {
  const ends: (readonly [code: string | undefined, counts: boolean])[] = [];
  const observer: AttemptObserver = {
    timed: false,
    attemptEnded: (_endpoint, _status, _grpc, error, _headMs, counts) => void ends.push([error?.code, counts]),
  };
  return { ends, ...world(policy, script, options, [observer], hedge) };
}

describe("a slow attempt gets company", () => {
  it("the second answers first: it wins, and the first is cut", () => {
    const { env, peer, go, idle, ends } = hedged(after50);
    const { call, sink } = go();
    env.clock.advance(49);
    expect(peer.exchanges).toHaveLength(1);
    env.clock.advance(1);
    expect(peer.exchanges).toHaveLength(2);
    expect(peer.tried[0]).not.toBe(peer.tried[1]);
    peer.exchanges[1]!.head(200);
    expect(peer.exchanges[0]!.abortedWith).toMatchObject({
      code: "ABORTED",
      message: "another attempt answered first",
    });
    peer.exchanges[1]!.data("second").end();
    expect(sink).toMatchObject({ text: "second", breaches: [] });
    expect(call.record).toMatchObject({ attempts: 2, endpoint: peer.exchanges[1]!.attempt!.endpoint, flag: "-" });
    // Losing says nothing of an endpoint.
    expect(ends).toEqual([
      ["ABORTED", false],
      [undefined, true],
    ]);
    idle();
  });

  it("the first answers first: the record says so, and the second is cut", () => {
    const { env, peer, go, idle } = hedged(after50);
    const { call, sink } = go();
    env.clock.advance(50);
    peer.exchanges[0]!.attempt!.peer = { mtls: true, spiffeId: "spiffe://cluster.local/ns/a/sa/b" };
    peer.exchanges[0]!.answer(200, "first");
    expect(sink.text).toBe("first");
    expect(peer.exchanges[1]!.abortedWith?.code).toBe("ABORTED");
    expect(call.record).toMatchObject({
      endpoint: peer.exchanges[0]!.attempt!.endpoint,
      mtls: true,
      peerPrincipal: "spiffe://cluster.local/ns/a/sa/b",
    });
    idle();
  });

  it("as many as the policy's retries allow, one after the other", () => {
    const { env, peer, go, idle } = hedged(after50, { retries: 2 });
    go();
    env.clock.advance(1_000);
    expect(peer.exchanges).toHaveLength(3);
    expect(new Set(peer.tried).size).toBe(3);
    peer.exchanges[1]!.answer(204);
    idle();
  });

  it("one that fails leaves silently while another runs; the last speaks for all", () => {
    const { env, peer, go, idle } = hedged(after50, { retries: 1, retryOn: ["reset"] });
    const { call, sink } = go();
    env.clock.advance(50);
    peer.exchanges[0]!.fail("RESET");
    expect(sink.over).toBe(false);
    expect(call.record.flag).toBe("-");
    peer.exchanges[1]!.fail("CONNECT_FAILED", false);
    expect(sink.error?.code).toBe("CONNECT_FAILED");
    idle();
  });

  it("a refused answer waits for the other's", () => {
    const { env, peer, go, idle } = hedged(after50, { retries: 1 });
    const { call, sink } = go();
    env.clock.advance(50);
    peer.exchanges[0]!.answer(503, "no");
    peer.exchanges[1]!.answer(200, "yes");
    expect(sink.text).toBe("yes");
    expect(call.record.flag).toBe("-");
    idle();
  });

  it("a failure before the delay is an ordinary retry, and the delay begins anew", () => {
    const { env, peer, go, idle } = hedged(after50, { retries: 2, backoffBaseMs: 1, backoffMaxMs: 1 }, [answers(503)]);
    const { sink } = go();
    env.clock.advance(1);
    expect(peer.exchanges).toHaveLength(2);
    env.clock.advance(49);
    expect(peer.exchanges).toHaveLength(2);
    env.clock.advance(1);
    expect(peer.exchanges).toHaveLength(3);
    peer.exchanges[2]!.answer(200);
    expect(sink.status).toBe(200);
    env.clock.advance(5_000);
    idle();
  });

  it("a gRPC head that is held wins nothing until it is passed on", () => {
    const { env, peer, go, idle } = hedged(after50, { retryOn: ["unavailable"], idempotent: true, retries: 1 });
    const { sink } = go({ protocol: "grpc", method: "POST" });
    env.clock.advance(50);
    peer.exchanges[0]!.head(200);
    expect(peer.exchanges[1]!.abortedWith).toBeUndefined();
    peer.exchanges[1]!.head(200).data("x");
    expect(peer.exchanges[0]!.abortedWith?.code).toBe("ABORTED");
    peer.exchanges[1]!.end({ "grpc-status": "0" });
    expect(sink.text).toBe("x");
    idle();
  });
});

describe("no company for", () => {
  const alone = (w: ReturnType<typeof hedged>, call: Parameters<typeof w.go>[0] = {}): void => {
    const { call: made } = w.go(call);
    w.env.clock.advance(1_000);
    expect(w.peer.exchanges).toHaveLength(1);
    made.abort("enough");
    w.idle();
  };

  it("what is not idempotent", () => alone(hedged(after50), { method: "POST" }));
  it("a body that is gone", () => alone(hedged(after50), { replay: false }));
  it("a body that is still open", () =>
    alone(hedged(after50), { body: { canReplay: () => true, isOpen: () => true } }));
  it("a call over its budget", () =>
    alone(hedged(after50, {}, [], { breaker: { retryBudget: { percent: 0, minConcurrency: 0 } } })));
  it("an answer that has begun", () => {
    const w = hedged(after50);
    w.go();
    w.peer.exchanges[0]!.head(200);
    w.env.clock.advance(1_000);
    expect(w.peer.exchanges).toHaveLength(1);
    w.peer.exchanges[0]!.end();
    w.idle();
  });

  it("a retry of somebody further up", () => {
    const w = hedged(after50);
    const made = w.make();
    made.callerAttempt = 2;
    w.send(made);
    w.env.clock.advance(1_000);
    expect(w.peer.exchanges).toHaveLength(1);
    made.abort("enough");
    w.idle();
  });
});

describe("hedge_on_per_try_timeout", () => {
  it("the attempt that is out of time goes on, and may still win; its time-out counts against its endpoint", () => {
    const { env, peer, go, idle, ends } = hedged(onPerTry, { perTryTimeoutMs: 100, retries: 1, retryOn: ["5xx"] });
    const { sink } = go();
    env.clock.advance(100);
    expect(peer.exchanges).toHaveLength(2);
    expect(peer.exchanges[0]!.abortedWith).toBeUndefined();
    env.clock.advance(1_000);
    // No third: the policy's number is used up, and both run on.
    expect(peer.exchanges).toHaveLength(2);
    peer.exchanges[1]!.answer(200, "second");
    expect(sink.text).toBe("second");
    expect(ends).toEqual([
      ["ABORTED", true],
      [undefined, true],
    ]);
    idle();
  });

  it("without it a per-try time-out cuts, hedged or not", () => {
    const { env, peer, go, idle } = hedged({ ...after50, delayMs: 80 }, { perTryTimeoutMs: 100, retries: 1 });
    const { sink } = go();
    env.clock.advance(100);
    expect(peer.exchanges[0]!.abortedWith?.code).toBe("PER_TRY_TIMEOUT");
    expect(sink.over).toBe(false);
    env.clock.advance(80);
    expect(sink.error?.code).toBe("PER_TRY_TIMEOUT");
    idle();
  });
});

describe("by the cluster's own times", () => {
  const byP95: HedgePolicy = { onPerTryTimeout: false, delayMs: 500, percentile: 0.95 };

  it("after the p95 of its answers, and after the fixed delay while too few were seen", () => {
    const { env, peer, go } = hedged(byP95, { retries: 1 });
    go();
    env.clock.advance(499);
    expect(peer.exchanges).toHaveLength(1);
    env.clock.advance(1);
    expect(peer.exchanges).toHaveLength(2);
    peer.exchanges[1]!.answer(200);
    for (let i = 0; i < 100; i++) {
      go();
      env.clock.advance(20);
      peer.exchanges.at(-1)!.answer(200);
    }
    const before = peer.exchanges.length;
    go();
    env.clock.advance(30);
    expect(peer.exchanges).toHaveLength(before + 2);
  });

  it("those that lose count with the time they had, or hedging would make itself look late", () => {
    const { env, peer, go } = hedged({ ...byP95, delayMs: 50 }, { retries: 1 });
    for (let i = 0; i < 200; i++) {
      go();
      env.clock.advance(50);
      peer.exchanges.at(-1)!.answer(200);
    }
    // Half of all attempts took 50 ms and more; a p95 from winners alone would be next to nothing.
    const before = peer.exchanges.length;
    go();
    env.clock.advance(40);
    expect(peer.exchanges).toHaveLength(before + 1);
  });
});

describe("an end from above reaches all that run", () => {
  it("the caller gives up: its own reason, once", () => {
    const { env, peer, go, idle } = hedged(after50);
    const { call, sink } = go();
    env.clock.advance(100);
    call.abort("mine");
    expect(sink.error).toMatchObject({ code: "ABORTED", cause: "mine" });
    expect(peer.exchanges.map(({ abortedWith }) => abortedWith)).toEqual([sink.error, sink.error, sink.error]);
    idle();
  });

  it("the deadline: every endpoint that owed an answer is blamed", () => {
    const { env, go, idle, ends } = hedged(after50);
    const { call, sink } = go();
    env.clock.advance(100);
    call.abort(new MeshError("TIMEOUT", "too late", { sent: true }));
    expect(sink.error?.code).toBe("TIMEOUT");
    expect(ends).toEqual(Array.from({ length: 3 }, () => ["TIMEOUT", true]));
    idle();
  });
});

describe("the laws, in random orders of events", () => {
  const cases: [string, Partial<RetryPolicy>, HedgePolicy, ClusterOptions][] = [
    ["by a delay", { retries: 3 }, { ...after50, delayMs: 20 }, {}],
    ["on per-try time-outs", { retries: 2, perTryTimeoutMs: 60 }, onPerTry, {}],
    ["both", { retries: 3, perTryTimeoutMs: 60 }, { ...onPerTry, delayMs: 30 }, {}],
    [
      "with scarce limits",
      { retries: 4 },
      { ...after50, delayMs: 10 },
      { breaker: { maxRequests: 2, retryBudget: { percent: 20, minConcurrency: 1 } } },
    ],
  ];

  it.each(cases)("hedged %s", (_name, policy, hedge, options) => {
    const state = new State();
    const config = cluster("c", { endpoints: endpoints(4), ...options });
    const plan = new RetryPlan(retryPolicy({ retryOn: ["5xx", "reset"], ...policy }), testEnv(), hedge);
    checkServiceLaws(
      ({ env }) => {
        const compiled = new Cluster(config, env, state);
        return (each, sink) => sendToCluster(each, sink, compiled, plan);
      },
      {
        after: ({ peer }) => {
          const counts = state.clusters.get("c")!;
          expect(counts).toMatchObject({ requests: 0, retries: 0 });
          for (const { address } of config.endpoints.priorities.flat().flatMap((each) => each.endpoints))
            expect(counts.endpoints.get(address)?.active ?? 0).toBe(0);
          expect(peer.exchanges.length).toBeLessThanOrEqual(policy.retries! + 1);
        },
      },
    );
  });

  it("with events of whichever attempt: one answer, from one attempt, the others ended, nothing left", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 80 }) }),
      fc.record({ kind: fc.constantFrom("head", "bad", "data", "end", "fail"), of: fc.nat(4) }),
      fc.record({ kind: fc.constant("abort" as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.boolean(), (steps, perTry) => {
        const hedge = perTry ? onPerTry : { ...after50, delayMs: 20 };
        const { env, peer, go, idle, ends } = hedged(hedge, {
          retries: 3,
          retryOn: ["5xx", "reset"],
          ...(perTry && { perTryTimeoutMs: 30 }),
        });
        const { call, sink } = go();
        for (const each of steps) {
          if (each.kind === "advance") env.clock.advance(each.ms);
          else if (each.kind === "abort") call.abort("enough");
          else {
            const exchange = peer.exchanges[each.of % peer.exchanges.length]!;
            if (exchange.over) continue;
            if (each.kind === "fail") exchange.fail("RESET");
            else if (!exchange.headed)
              exchange.head(each.kind === "bad" ? 503 : 200, { "x-of": exchange.attempt!.endpoint.address });
            else if (each.kind === "data") exchange.data(exchange.attempt!.endpoint.address);
            else exchange.end();
          }
        }
        for (let turn = 0; turn < 20; turn++) {
          for (const exchange of peer.exchanges) {
            if (exchange.over) continue;
            if (!exchange.headed) exchange.head(200, { "x-of": exchange.attempt!.endpoint.address });
            exchange.end();
          }
          env.clock.advance(2_000);
        }
        expect(sink.breaches).toEqual([]);
        expect(sink.over).toBe(true);
        expect(peer.exchanges.length).toBeLessThanOrEqual(4);
        expect(peer.exchanges.every(({ over }) => over)).toBe(true);
        expect(ends).toHaveLength(call.record.attempts);
        const from = sink.head?.headers.get("x-of");
        if (from !== undefined) {
          // Bytes of two attempts never mix, and the record names the one that answered.
          expect(sink.text.replaceAll(from, "")).toBe("");
          expect(call.record.endpoint!.address).toBe(from);
        }
        idle();
      }),
      { numRuns: 400, seed: 7 },
    );
  });
});

it("an attempt that cannot even begin leaves the one that runs alone", () => {
  const { env, peer, go, idle } = hedged(after50, {}, [waits], { breaker: { maxRequests: 1 } });
  const { sink } = go();
  env.clock.advance(500);
  expect(peer.exchanges).toHaveLength(1);
  peer.next().answer(200);
  expect(sink.status).toBe(200);
  idle();
  const first = hedged(after50, {}, [fails("OVERFLOW", false)]);
  expect(first.go().sink.error?.code).toBe("OVERFLOW");
  first.idle();
});
