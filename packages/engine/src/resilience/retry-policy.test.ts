import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { retryPolicy } from "../../../../test/kit/mesh-config.ts";
import { answers } from "../../../../test/kit/peer.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import type { HeaderMatch } from "../config.ts";
import { MeshError, type MeshErrorCode } from "../errors.ts";
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

describe("each word of retry_on takes what it names, and nothing else", () => {
  const plan = (...retryOn: string[]): RetryPlan =>
    new RetryPlan(retryPolicy({ retryOn, statusCodes: [425] }), testEnv());
  const none = HeaderList.empty();

  it.each([
    ["cancelled", 1],
    ["deadline-exceeded", 4],
    ["resource-exhausted", 8],
    ["internal", 13],
    ["unavailable", 14],
  ] as const)("%s: status %i, in the head and in the trailers", (word, own) => {
    for (let status = 0; status <= 16; status++) {
      expect([word, status, plan(word).wantsGrpcStatus(status)]).toEqual([word, status, status === own]);
      expect(plan(word).wantsAnswer({ status: 200, headers: none }, status)).toBe(status === own);
    }
  });

  it("a gRPC call without an answer is what a gRPC client would say of it", () => {
    const wants = (word: string, code: MeshErrorCode): boolean => plan(word).wantsError(new MeshError(code, "x"), true);
    expect([wants("deadline-exceeded", "PER_TRY_TIMEOUT"), wants("unavailable", "PER_TRY_TIMEOUT")]).toEqual([
      true,
      false,
    ]);
    expect([wants("deadline-exceeded", "RESET"), wants("unavailable", "RESET")]).toEqual([false, true]);
    for (const word of ["cancelled", "internal", "resource-exhausted"])
      for (const code of ["PER_TRY_TIMEOUT", "RESET", "CONNECT_FAILED"] as const) expect(wants(word, code)).toBe(false);
  });

  it.each<[word: string, takes: (status: number) => boolean]>([
    ["5xx", (status) => status >= 500],
    ["gateway-error", (status) => status >= 502 && status <= 504],
    ["retriable-4xx", (status) => status === 409],
    ["retriable-status-codes", (status) => status === 425],
    ["reset", () => false],
    ["reset-before-request", () => false],
    ["connect-failure", () => false],
    ["refused-stream", () => false],
    ["envoy-ratelimited", () => false],
    ["http3-post-connect-failure", () => false],
    ["unavailable", () => false],
  ])("%s, by the status of HTTP", (word, takes) => {
    for (let status = 200; status <= 599; status++)
      expect([status, plan(word).wantsAnswer({ status, headers: none }, -1)]).toEqual([status, takes(status)]);
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
