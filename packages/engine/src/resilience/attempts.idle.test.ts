import { describe, expect, it } from "vitest";
import { waits } from "../../../../test/kit/peer.ts";
import type { MeshError } from "../errors.ts";
import type { AttemptObserver } from "../cluster/observer.ts";
import type { HedgePolicy, RetryPolicy } from "../config.ts";
import { world } from "../../test/attempt-world.ts";

/** `per_try_idle_timeout` of 100 ms; observers are told who is blamed for what. */
function silent(policy: Partial<RetryPolicy> = {}, hedge?: HedgePolicy) {
  const blamed: (MeshError["code"] | undefined)[] = [];
  const observer: AttemptObserver = {
    timed: false,
    attemptEnded: (_endpoint, _status, _grpc, error, _headMs, counts) => void (counts && blamed.push(error?.code)),
  };
  const script = [waits, waits, waits];
  return { blamed, ...world({ retryOn: [], perTryIdleTimeoutMs: 100, ...policy }, script, {}, [observer], hedge) };
}

describe("per_try_idle_timeout", () => {
  it("ends an attempt that brings nothing, and repeats it where the policy says so", () => {
    const { env, peer, go, idle, blamed } = silent({ retryOn: ["5xx"], retries: 1 });
    const { sink } = go();
    peer.exchanges[0]!.attempt!.sent = true;
    env.clock.advance(100);
    expect(peer.exchanges[0]!.abortedWith).toMatchObject({ code: "PER_TRY_TIMEOUT", status: 504, flag: "UT" });
    env.clock.advance(50);
    expect(peer.exchanges).toHaveLength(2);
    peer.exchanges[1]!.answer();
    expect(sink.status).toBe(200);
    expect(blamed).toEqual(["PER_TRY_TIMEOUT", undefined]);
    idle();
  });

  it("lets an answer take its time as long as something comes, and cuts one that falls silent, which is not repeated", () => {
    const { env, peer, go, idle, blamed } = silent({ retryOn: ["5xx"] });
    const { sink } = go();
    const [exchange] = peer.exchanges;
    env.clock.advance(90);
    exchange!.head();
    for (let i = 0; i < 5; i++) {
      env.clock.advance(99);
      exchange!.data();
    }
    env.clock.advance(99);
    expect(sink.error).toBeUndefined();
    env.clock.advance(1);
    expect(sink.error).toMatchObject({ code: "PER_TRY_TIMEOUT", sent: true });
    expect(sink.events.at(-1)).toBe("error");
    expect(peer.exchanges).toHaveLength(1);
    expect(blamed).toEqual(["PER_TRY_TIMEOUT"]);
    idle();
  });

  it("does not count the time of connecting, nor what the request still brings", () => {
    const { env, peer, go, idle } = silent();
    let moved = 0;
    const { sink } = go({ body: { canReplay: () => false, moved: () => moved } });
    env.clock.advance(1_000);
    expect(sink.error).toBeUndefined();
    peer.exchanges[0]!.attempt!.sent = true;
    for (let i = 0; i < 5; i++) {
      env.clock.advance(90);
      moved++;
    }
    expect(sink.error).toBeUndefined();
    env.clock.advance(200);
    expect(sink.error).toMatchObject({ code: "PER_TRY_TIMEOUT" });
    idle();
  });

  it("makes a second attempt beside the silent one where the call is hedged by time-outs", () => {
    const { env, peer, go, idle } = silent(
      { retryOn: ["5xx"], retries: 1 },
      { onPerTryTimeout: true, delayMs: undefined, percentile: undefined },
    );
    const { sink } = go();
    peer.exchanges[0]!.attempt!.sent = true;
    env.clock.advance(100);
    expect(peer.exchanges).toHaveLength(2);
    expect(peer.exchanges[0]!.abortedWith).toBeUndefined();
    peer.exchanges[0]!.answer();
    expect(sink.status).toBe(200);
    idle();
  });

  it("leaves a switched connection alone", () => {
    const { env, peer, go } = silent();
    const { sink } = go();
    peer.exchanges[0]!.head(101);
    env.clock.advance(1_000);
    expect(sink.error).toBeUndefined();
    peer.exchanges[0]!.end();
    expect(env.clock.pending).toBe(0);
  });
});
