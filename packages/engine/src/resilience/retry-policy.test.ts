import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { retryPolicy } from "../../../../test/kit/mesh-config.ts";
import { answers } from "../../../../test/kit/peer.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import type { HeaderMatch } from "../config.ts";
import { HeaderList } from "../headers.ts";
import { sendToCluster } from "./attempts.ts";
import { RetryPlan } from "./retry-policy.ts";
import { world } from "../../test/attempt-world.ts";

const is = (name: string, value: string, invert = false): HeaderMatch => ({
  name,
  test: { kind: "string", match: { kind: "exact", value, ignoreCase: false } },
  invert,
  missingIsEmpty: false,
});
const present = (name: string): HeaderMatch => ({
  name,
  test: { kind: "present", present: true },
  invert: false,
  missingIsEmpty: false,
});

describe("retriable-headers", () => {
  const wants = (matches: HeaderMatch[], fields: Record<string, string>, words = ["retriable-headers"]) =>
    new RetryPlan(retryPolicy({ retryOn: words, answerHeaders: matches }), testEnv()).wantsAnswer(
      { status: 200, headers: HeaderList.ofRecord(fields) },
      -1,
    );

  it("any of them will do", () => {
    expect(wants([is("x-again", "yes"), present("x-later")], { "x-later": "" })).toBe(true);
    expect(wants([is("x-again", "yes"), present("x-later")], { "x-again": "no" })).toBe(false);
    expect(wants([is("x-again", "yes", true)], { "x-again": "no" })).toBe(true);
  });

  it("are only looked at under the word", () => {
    expect(wants([present("x-later")], { "x-later": "" }, ["5xx"])).toBe(false);
  });
});

it("retriable_request_headers: other requests are never repeated", () => {
  for (const [fields, attempts] of [
    [{ "x-safe": "1" }, 2],
    [{ "x-safe": "2" }, 1],
    [{}, 1],
  ] as const) {
    const { env, peer, go, idle } = world({ requestHeaders: [is("x-safe", "1")] }, [answers(503), answers(200)]);
    go({ headers: fields as Record<string, string> });
    env.clock.advance(5_000);
    expect(peer.exchanges).toHaveLength(attempts);
    idle();
  }
});

it("a route's owner may say that its POSTs can be repeated", () => {
  const { env, go, idle } = world({ idempotent: true }, [answers(503), answers(200)]);
  const { sink } = go({ method: "POST" });
  env.clock.advance(5_000);
  expect(sink.status).toBe(200);
  idle();
});

it("Retry-After is waited for, and a little longer", () => {
  const { env, peer, go, idle } = world({}, [answers(503, undefined, { "retry-after": "2" }), answers(200)]);
  const { sink } = go();
  env.clock.advance(1_999);
  expect(peer.exchanges).toHaveLength(1);
  env.clock.advance(1_001);
  expect(sink.status).toBe(200);
  idle();
});

it("Retry-After beyond the deadline: the answer that is there is passed on at once", () => {
  const { env, peer, compiled, idle } = world({}, [answers(503, undefined, { "retry-after": "2" })]);
  const call = makeCall({ transport: peer });
  call.deadlineMs = env.clock.now() + 1_500;
  const sink = new TestSink();
  sendToCluster(call, sink, compiled, new RetryPlan(retryPolicy(), env));
  expect(sink.status).toBe(503);
  idle();
});
