import { describe, expect, it } from "vitest";
import { answers, fails, waits } from "../../../../test/kit/peer.ts";
import type { Answer } from "../../../../test/kit/peer.ts";
import { MeshError } from "../errors.ts";
import type { AttemptObserver } from "../cluster/observer.ts";
import type { RetryPolicy } from "../config.ts";
import { world } from "../../test/attempt-world.ts";

interface End {
  readonly address: string;
  readonly status: number;
  readonly grpcStatus: number;
  readonly code: string | undefined;
  readonly headMs: number;
  readonly counts: boolean;
}

/** What an observer is told, in order. */
function watched(policy: Partial<RetryPolicy> | undefined, script: Answer[], timed = false) {
  const ends: End[] = [];
  const observer: AttemptObserver = {
    timed,
    attemptEnded: (endpoint, status, grpcStatus, error, headMs, counts) =>
      void ends.push({ address: endpoint.config.address, status, grpcStatus, code: error?.code, headMs, counts }),
  };
  return { ends, ...world(policy, script, {}, [observer]) };
}

describe("the end of each attempt is told once", () => {
  it("with the status of its head, whether it was passed on or refused in favour of a retry", () => {
    const { ends, env, peer, go, idle } = watched({}, [answers(503), answers(200)]);
    go();
    env.clock.advance(2_000);
    expect(ends.map(({ status, counts }) => ({ status, counts }))).toEqual([
      { status: 503, counts: true },
      { status: 200, counts: true },
    ]);
    expect(ends.map(({ address }) => address)).toEqual(peer.tried);
    idle();
  });

  it("with the error, and with the head before it when the answer broke off", () => {
    const { ends, peer, go } = watched(undefined, [fails("CONNECT_FAILED", false), waits]);
    go();
    go();
    peer.exchanges[1]!.head(200).data().fail("RESET");
    expect(ends).toMatchObject([
      { status: 0, code: "CONNECT_FAILED", counts: true },
      { status: 200, code: "RESET", counts: true },
    ]);
  });

  it("with the gRPC status, of a trailers-only head as of trailers", () => {
    const { ends, peer, go } = watched({ retryOn: ["unavailable"], retries: 1 }, [waits, waits, waits]);
    for (let i = 0; i < 3; i++) go({ protocol: "grpc", method: "POST" });
    peer.exchanges[0]!.head(200, { "grpc-status": "7" }).end();
    peer.exchanges[1]!.head(200).data().end({ "grpc-status": "13" });
    peer.exchanges[2]!.head(200).end({ "grpc-status": "14" });
    expect(ends.map(({ grpcStatus }) => grpcStatus)).toEqual([7, 13, 14]);
  });

  it("with the time to the head, for those who want it", () => {
    const { ends, env, peer, go } = watched(undefined, [waits], true);
    go();
    env.clock.advance(7);
    peer.next().head(200);
    env.clock.advance(100);
    peer.exchanges[0]!.end();
    expect(ends[0]!.headMs).toBe(7);
  });
});

describe("what says nothing of the endpoint does not count", () => {
  it("the caller gave up", () => {
    const { ends, go } = watched(undefined, [waits]);
    go().call.abort("enough");
    expect(ends).toMatchObject([{ code: "ABORTED", counts: false }]);
  });

  it("our own limits refused it, or the mesh closes", () => {
    const { ends, go } = watched(undefined, [fails("OVERFLOW"), fails("CLOSED")]);
    go();
    go();
    expect(ends.map(({ counts }) => counts)).toEqual([false, false]);
  });

  it("the deadline passed while an answer was under way; it counts while there was none", () => {
    const { ends, peer, go } = watched(undefined, [waits, waits]);
    const expired = new MeshError("TIMEOUT", "too late");
    const first = go();
    const second = go();
    peer.exchanges[1]!.head(200);
    first.call.abort(expired);
    second.call.abort(expired);
    expect(ends.map(({ counts }) => counts)).toEqual([true, false]);
  });

  it("our event loop was blocked: the endpoint gets the time back, and is blamed for its own alone", () => {
    const { ends, env, go } = watched({ retryOn: ["gateway-error"], perTryTimeoutMs: 100, retries: 1 }, [waits, waits]);
    go();
    env.clock.advance(30);
    env.clock.block(200);
    env.clock.advance(69);
    expect(ends).toEqual([]);
    env.clock.advance(1);
    expect(ends).toMatchObject([{ code: "PER_TRY_TIMEOUT", counts: true }]);
  });

  it("unless the deadline of the call comes first: then nobody is blamed", () => {
    const { ends, env, go } = watched({ retryOn: ["gateway-error"], perTryTimeoutMs: 100, retries: 1 }, [waits, waits]);
    const { call } = go();
    call.deadlineMs = env.clock.now() + 250;
    env.clock.advance(30);
    env.clock.block(200);
    expect(ends).toMatchObject([{ code: "PER_TRY_TIMEOUT", counts: false }]);
  });
});
