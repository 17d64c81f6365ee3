import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Call } from "../call.ts";
import type { MeshError } from "../errors.ts";
import { HeaderList } from "../headers.ts";
import { noFlow } from "../service.ts";
import type { Service, Sink } from "../service.ts";
import { makeCall, Recorder, testEnv } from "../../test/fixture.ts";
import { deadlineLayer, handDown } from "./deadline.ts";

/** A service that keeps the call until the test ends it, and answers an abort as transports do. */
function held(): { readonly service: Service; sink: Sink | undefined; readonly aborted: MeshError[] } {
  const state = {
    sink: undefined as Sink | undefined,
    aborted: [] as MeshError[],
    service: (call: Call, sink: Sink) => {
      state.sink = sink;
      call.record.attempts = 1;
      call.active = {
        abort(reason) {
          state.aborted.push(reason);
          sink.onError(reason);
        },
      };
    },
  };
  return state;
}

describe("whole-call deadline", () => {
  test("no time-out, no deadline: the sink goes on untouched and no timer runs (law 3)", () => {
    const env = testEnv();
    const inner = held();
    const sink = new Recorder();
    deadlineLayer(undefined, env)(inner.service)(makeCall(), sink);
    expect(inner.sink).toBe(sink);
    expect(env.clock.pending).toBe(0);
  });

  test("it ends with the answer to an upgrade: a switched connection may live on", () => {
    const env = testEnv();
    const inner = held();
    const sink = new Recorder();
    deadlineLayer(500, env)(inner.service)(makeCall(), sink);
    inner.sink!.onHead({ status: 101, headers: HeaderList.empty() }, noFlow);
    expect(env.clock.pending).toBe(0);
    env.clock.advance(10_000);
    inner.sink!.onEnd(undefined);
    expect([inner.aborted, sink.error]).toEqual([[], undefined]);
  });

  test("when it passes, the upstream is told and the caller gets TIMEOUT once", () => {
    const env = testEnv();
    const inner = held();
    const sink = new Recorder();
    const call = makeCall();
    deadlineLayer(500, env)(inner.service)(call, sink);
    expect(call.deadlineMs).toBe(500);
    env.clock.advance(499);
    expect(sink.events).toEqual([]);
    env.clock.advance(1);
    expect(sink.events).toEqual(["error TIMEOUT"]);
    expect(sink.error).toMatchObject({ status: 504, flag: "UT", sent: true });
    expect(inner.aborted).toEqual([sink.error]);
  });

  test("an upstream that is told and stays silent is not waited for", () => {
    const env = testEnv();
    const sink = new Recorder();
    let late: Sink | undefined;
    deadlineLayer(10, env)((_call, inner) => void (late = inner))(makeCall(), sink);
    env.clock.advance(10);
    late!.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
    late!.onEnd(undefined);
    expect(sink.events).toEqual(["error TIMEOUT"]);
    expect(sink.error!.sent).toBe(false);
  });

  test("it covers the body, and its timer ends with the answer", () => {
    const env = testEnv();
    const inner = held();
    const sink = new Recorder();
    deadlineLayer(500, env)(inner.service)(makeCall(), sink);
    inner.sink!.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
    expect(env.clock.pending).toBe(1);
    inner.sink!.onData(new Uint8Array(3));
    inner.sink!.onEnd(undefined);
    expect(env.clock.pending).toBe(0);
    env.clock.advance(1_000);
    expect(sink.events).toEqual(["head 200", "data 3", "end"]);
  });

  test("the nearer deadline holds: a route never lengthens the application's own", () => {
    const env = testEnv();
    for (const [own, routeMs, expected] of [
      [100, 500, 100],
      [500, 100, 100],
      [100, undefined, 100],
    ] as const) {
      const call = makeCall();
      call.deadlineMs = env.clock.now() + own;
      const sink = new Recorder();
      deadlineLayer(routeMs, env)(held().service)(call, sink);
      expect(call.deadlineMs - env.clock.now()).toBe(expected);
      env.clock.advance(expected);
      expect(sink.events).toEqual(["error TIMEOUT"]);
    }
  });

  test("a deadline that has passed is refused without being sent", () => {
    const env = testEnv();
    env.clock.advance(50);
    const call = makeCall();
    call.deadlineMs = 50;
    const sink = new Recorder();
    const inner = held();
    deadlineLayer(500, env)(inner.service)(call, sink);
    expect(inner.sink).toBeUndefined();
    expect(sink.error).toMatchObject({ code: "TIMEOUT", sent: false });
  });

  test("a deadline that ran out while our own event loop was blocked is marked as our own doing", () => {
    const expired = (run: (clock: ReturnType<typeof testEnv>["clock"]) => void): MeshError => {
      const env = testEnv();
      env.clock.block(300);
      const sink = new Recorder();
      deadlineLayer(100, env)(held().service)(makeCall(), sink);
      run(env.clock);
      expect(sink.events).toEqual(["error TIMEOUT"]);
      return sink.error!;
    };
    expect(expired((clock) => clock.block(150)).ownDelay).toBe(true);
    // Not late at all, yet half of the time nobody was looking.
    const partly = expired((clock) => {
      clock.block(60);
      clock.advance(40);
    });
    expect(partly).toMatchObject({ ownDelay: true, message: expect.stringContaining("event loop was blocked") });
    // A moment of it says nothing for an endpoint that never answered.
    const hardly = expired((clock) => {
      clock.block(9);
      clock.advance(91);
    });
    expect(hardly).toMatchObject({ ownDelay: false, message: "the call took longer than its 100 ms" });
    expect(expired((clock) => clock.advance(100)).ownDelay).toBe(false);
    // A block before the call is nothing to it.
    expect(expired((clock) => clock.advance(1_000)).ownDelay).toBe(false);
  });

  test("law 5: a caller that gave up before gets back its own reason", () => {
    const env = testEnv();
    const sink = new Recorder();
    const call = makeCall();
    const reason = new Error("mine");
    deadlineLayer(10, env)(() => {})(call, sink);
    call.abort(reason);
    env.clock.advance(10);
    expect(sink.error).toMatchObject({ code: "ABORTED", cause: reason });
  });
});

describe("a deadline that is handed on", () => {
  test("ends a little earlier at each hop", () => {
    expect(handDown(1_000, 0)).toBe(990);
    expect(handDown(50, 0)).toBe(45);
    expect(handDown(Infinity, 5)).toBe(Infinity);
    // One that has passed stays passed.
    expect(handDown(10, 20)).toBe(10);
  });

  test("over any number of hops it shrinks, is never used up by margins alone, and never comes back", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e9, noNaN: true }),
        fc.array(fc.double({ min: 0, max: 1e4, noNaN: true }), { maxLength: 20 }),
        (first, waits) => {
          let deadline = first;
          let now = 0;
          for (const wait of waits) {
            const next = handDown(deadline, now);
            expect(next).toBeLessThanOrEqual(deadline);
            if (deadline > now) expect(next).toBeGreaterThan(now);
            else expect(next).toBe(deadline);
            deadline = next;
            now += wait;
          }
        },
      ),
    );
  });
});
