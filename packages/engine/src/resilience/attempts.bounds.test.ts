import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { endpoints, retryPolicy } from "../../../../test/kit/mesh-config.ts";
import { answers, Exchange, fails, waits } from "../../../../test/kit/peer.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import { sendToCluster } from "./attempts.ts";
import { RetryPlan } from "./retry-policy.ts";
import { world } from "../../test/attempt-world.ts";

describe("time", () => {
  it("waits between 0 and (2ⁿ − 1) × base, capped, before the n-th retry", () => {
    const plan = new RetryPlan(retryPolicy({ backoffBaseMs: 25, backoffMaxMs: 250 }), testEnv());
    expect([1, 2, 3, 4, 5].map((n) => plan.backoffMs(n, 1))).toEqual([25, 75, 175, 250, 250]);
    expect(plan.backoffMs(3, 0)).toBe(0);
    expect(plan.backoffMs(2_000, 0.5)).toBe(125);
  });

  it("a try that is too slow is repeated, and its late answer is nobody's", () => {
    const { env, peer, go, idle } = world({ perTryTimeoutMs: 100, retryOn: ["5xx"] }, [waits, answers(200, "second")]);
    const { sink } = go();
    env.clock.advance(1_000);
    const late = peer.next();
    expect(late.abortedWith?.code).toBe("PER_TRY_TIMEOUT");
    late.over = false;
    late.answer(200, "first");
    expect(sink).toMatchObject({ text: "second", breaches: [] });
    idle();
  });

  it("a POST that went out is not repeated by a per-try time-out", () => {
    const { env, peer, go, idle } = world({ perTryTimeoutMs: 100 }, [waits]);
    const { sink } = go({ method: "POST" });
    peer.exchanges[0]!.attempt!.sent = true;
    env.clock.advance(1_000);
    expect(sink.error).toMatchObject({ code: "PER_TRY_TIMEOUT", sent: true });
    expect(peer.exchanges).toHaveLength(1);
    idle();
  });

  it("the per-try time-out ends with the head", () => {
    const { env, peer, go, idle } = world({ perTryTimeoutMs: 100 }, [waits]);
    const { sink } = go();
    const exchange = peer.next().head(200);
    env.clock.advance(10_000);
    exchange.data("slow").end();
    expect(sink.text).toBe("slow");
    idle();
  });

  it("gives the answer it has rather than wait past the deadline", () => {
    const { env, peer, compiled } = world({}, [answers(503)]);
    const call = makeCall({ transport: peer });
    call.deadlineMs = env.clock.now() + 0.001;
    const sink = new TestSink();
    sendToCluster(call, sink, compiled, new RetryPlan(retryPolicy({ backoffBaseMs: 100 }), env));
    expect(sink.status).toBe(503);
    expect(env.clock.pending).toBe(0);
  });
});

describe("a refused answer", () => {
  it("is read to its end when it is small", () => {
    const { env, peer, go, idle } = world({}, [(e) => void e.head(503).data("sorry"), answers(200)]);
    go();
    env.clock.advance(500);
    peer.next().end();
    env.clock.advance(5_000);
    expect(peer.exchanges[0]!.abortedWith).toBeUndefined();
    idle();
  });

  it("is cut when it is big, and when it is slow", () => {
    const big = "x".repeat(70_000);
    const { env, peer, go, idle } = world({}, [
      (e) => void e.head(503).data(big),
      (e) => void e.head(503),
      answers(200),
    ]);
    const { sink } = go();
    env.clock.advance(10_000);
    expect(peer.exchanges.map(({ abortedWith }) => abortedWith?.code)).toEqual(["ABORTED", "ABORTED", undefined]);
    expect(sink.status).toBe(200);
    idle();
  });
});

describe("limits", () => {
  it("maxRequests refuses with OVERFLOW, and not for ever", () => {
    const { peer, go } = world({ retryOn: ["5xx"] }, [], { breaker: { maxRequests: 1 } });
    const first = go();
    const second = go();
    expect(second.sink.error).toMatchObject({ code: "OVERFLOW", status: 503, flag: "UO", sent: false });
    expect(peer.exchanges).toHaveLength(1);
    peer.next().answer(200);
    expect(first.sink.status).toBe(200);
    peer.allow(1);
    expect(go().sink.status).toBe(200);
  });

  it("maxRetries lets the answer through and says UO", () => {
    const { env, peer, go, idle } = world({}, [answers(503), answers(503)], { breaker: { maxRetries: 1 } });
    go();
    const second = go();
    expect(second.sink.status).toBe(503);
    expect(second.call.record.flag).toBe("UO");
    peer.allow(9);
    env.clock.advance(5_000);
    idle();
  });

  it("the budget is a share of what is under way, and at least its minimum", () => {
    const breaker = { retryBudget: { percent: 20, minConcurrency: 1 } };
    const { counts, peer, go } = world({}, [], { breaker });
    for (let i = 0; i < 20; i++) go();
    for (let i = 0; i < 10; i++) peer.next().answer(503);
    // 20, 19, 18 … under way as each was judged, so 4, then 3 may be repeated at once: the fourth is refused.
    expect(counts.retries).toBe(3);
  });

  it("a retry of what was never sent needs no place: a dead endpoint does not use the budget up", () => {
    const breaker = { retryBudget: { percent: 0, minConcurrency: 0 } };
    const { counts, env, peer, go, idle } = world({ retryOn: ["connect-failure"] }, [], { breaker });
    const calls = [go(), go(), go()];
    for (const _ of calls) peer.next().fail("CONNECT_FAILED", false);
    expect(counts.retries).toBe(0);
    env.clock.advance(5_000);
    for (const _ of calls) peer.next().answer(200);
    expect(calls.map(({ sink }) => sink.status)).toEqual([200, 200, 200]);
    idle();
  });

  it("a dropped call is refused and not repeated", () => {
    const { peer, go, idle } = world({ retryOn: ["5xx"] }, [], {
      drops: [{ category: "shed", perMillion: 1_000_000 }],
    });
    const { sink } = go();
    expect(sink.error).toMatchObject({ code: "OVERFLOW", flag: "DO" });
    expect(peer.exchanges).toHaveLength(0);
    idle();
  });

  it("no healthy endpoint is an error of its own", () => {
    const { go, idle } = world({}, [], { endpoints: endpoints(3, () => ({ health: "unhealthy" })) });
    expect(go().sink.error).toMatchObject({ code: "NO_HEALTHY_ENDPOINT", flag: "UH" });
    idle();
  });
});

describe("a call made on behalf of a retry", () => {
  const asked = (world_: ReturnType<typeof world>, callerAttempt: number, retries = 1) => {
    const call = makeCall({ transport: world_.peer, startMs: world_.env.clock.now() });
    call.callerAttempt = callerAttempt;
    const sink = new TestSink();
    sendToCluster(
      call,
      sink,
      world_.compiled,
      new RetryPlan(retryPolicy({ retryOn: ["5xx", "reset"], retries }), world_.env),
    );
    world_.env.clock.advance(10_000);
    return sink;
  };

  it("has as many retries less of its own: here of one none is left", () => {
    for (const first of [answers(503), fails("RESET")]) {
      const nested = world({}, [first, answers(200)]);
      const sink = asked(nested, 2);
      expect(nested.peer.exchanges).toHaveLength(1);
      expect(sink.over).toBe(true);
      nested.idle();
    }
  });

  it("still repairs a failure of its own as long as one is left", () => {
    const nested = world({}, [answers(503), answers(200)]);
    expect(asked(nested, 2, 2).status).toBe(200);
    nested.idle();
  });

  it("is not held back for a retry that will not be", () => {
    const { peer, make, send } = world({ retryOn: ["unavailable"] }, [waits]);
    const call = make({ protocol: "grpc", method: "POST" });
    call.callerAttempt = 9;
    const { sink } = send(call);
    peer.next().head(200);
    expect(sink.events).toEqual(["head"]);
  });

  it("still goes elsewhere with what never left", () => {
    const nested = world({}, [fails("RESET", false), answers(200)]);
    expect(asked(nested, 2).status).toBe(200);
    expect(nested.peer.exchanges.map(({ attempt }) => attempt!.total)).toEqual([2, 3]);
    nested.idle();
  });

  it("however long the chain, no path through it holds more retries than one of its policies allows", () => {
    // Each hop asks the next, `retries` times more if that fails; the last one always fails.
    const reached = (depth: number, retries: number, callerAttempt: number): number => {
      let last = 0;
      const hop = world({ retries, retryOn: ["5xx"] }, []);
      const call = makeCall({
        startMs: hop.env.clock.now(),
        transport: {
          send(attempt, sink) {
            attempt.sent = true;
            last += depth === 1 ? 1 : reached(depth - 1, retries, attempt.total);
            answers(503)(new Exchange(sink, attempt));
          },
        },
      });
      call.callerAttempt = callerAttempt;
      sendToCluster(
        call,
        new TestSink(),
        hop.compiled,
        new RetryPlan(retryPolicy({ retries, retryOn: ["5xx"] }), hop.env),
      );
      hop.env.clock.advance(10_000);
      return last;
    };
    for (const depth of [1, 2, 3, 4])
      // The ways to share out so many retries among the hops, or fewer: where each hop had all of them, (retries + 1) ** depth.
      for (const retries of [1, 2, 3]) expect(reached(depth, retries, 1)).toBe(choose(depth + retries, retries));
  });
});

function choose(n: number, k: number): number {
  return k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k;
}
