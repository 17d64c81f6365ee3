import { describe, expect, test } from "vitest";
import { MockPeer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { makeCall, Recorder, testEnv } from "../../test/fixture.ts";
import type { CallOptions } from "../../test/fixture.ts";
import { idleLayer } from "./idle.ts";

function world(call: CallOptions = {}) {
  const env = testEnv();
  const peer = new MockPeer();
  const sink = new Recorder();
  const made = makeCall(call);
  idleLayer(100, env)(peer.service)(made, sink);
  return { env, sink, call: made, exchange: peer.exchanges[0]! };
}

/** A body of which pieces come one by one. */
function pieces() {
  const state = { count: 0, open: true };
  return { state, body: { canReplay: () => false, isOpen: () => state.open, moved: () => state.count } };
}

describe("idle_timeout of a route", () => {
  test("silence ends a call with 504 and SI, and reaches the upstream", () => {
    const { env, sink, exchange } = world();
    env.clock.advance(99);
    expect(sink.events).toEqual([]);
    env.clock.advance(1);
    expect(sink.events).toEqual(["error IDLE_TIMEOUT"]);
    expect(sink.error).toMatchObject({ status: 504, flag: "SI", grpcStatus: 14 });
    expect(exchange.abortedWith).toBe(sink.error);
    expect(env.clock.pending).toBe(0);
  });

  test("whatever moves begins the time anew, however long the call takes; and then silence in the answer cuts it", () => {
    const { env, sink, exchange } = world();
    env.clock.advance(90);
    exchange.head();
    for (let i = 0; i < 5; i++) {
      env.clock.advance(99);
      exchange.data("x");
    }
    env.clock.advance(99);
    expect(sink.error).toBeUndefined();
    env.clock.advance(1);
    expect(sink.error).toMatchObject({ code: "IDLE_TIMEOUT" });
  });

  test("pieces of the request count too; while the caller has yet to go on it is 408", () => {
    const { state, body } = pieces();
    const { env, sink } = world({ body });
    for (let i = 0; i < 5; i++) {
      env.clock.advance(90);
      state.count++;
    }
    // Seen when the time is over, and then it begins anew: twice the time at most.
    env.clock.advance(199);
    expect(sink.error).toMatchObject({ status: 408, flag: "SI", grpcStatus: 2 });
    const closed = pieces();
    closed.state.open = false;
    const other = world({ body: closed.body });
    other.env.clock.advance(100);
    expect(other.sink.error).toMatchObject({ status: 504 });
  });

  test("time for which our own event loop was blocked does not count", () => {
    const { env, sink } = world();
    env.clock.advance(10);
    env.clock.block(500);
    expect(sink.error).toBeUndefined();
    env.clock.advance(89);
    expect(sink.error).toBeUndefined();
    env.clock.advance(1);
    expect(sink.error).toMatchObject({ code: "IDLE_TIMEOUT", ownDelay: false });
  });

  test("a switched connection is not watched, for what moves on it is not seen", () => {
    const { env, sink, exchange } = world();
    exchange.head(101);
    expect(env.clock.pending).toBe(0);
    env.clock.advance(1_000);
    expect(sink.events).toEqual(["head 101"]);
  });

  test("no timer is left behind an answer or an error", () => {
    const { env, exchange } = world();
    exchange.answer();
    expect(env.clock.pending).toBe(0);
    const failed = world();
    failed.exchange.fail("RESET");
    expect(failed.env.clock.pending).toBe(0);
  });

  test("the laws hold", () => {
    checkServiceLaws(({ env, peer }) => idleLayer(120, env)(peer.service), {
      after: ({ env }) => expect(env.clock.pending).toBe(0),
    });
  });
});
