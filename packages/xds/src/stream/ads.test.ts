import { create } from "@bufbuild/protobuf";
import { NodeSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { DeltaDiscoveryRequest } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { DeltaDiscoveryResponseSchema } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { expect, test } from "vitest";

import { testEnv } from "../../../../test/kit/env.ts";
import { Ads } from "./ads.ts";
import { createBackoff } from "./backoff.ts";
import { openDelta } from "./delta.ts";
import type { Fault, Subscriber, Update } from "./session.ts";
import { faultText } from "./session.ts";
import type { BidiStream, StreamHandlers, StreamStatus, StreamTransport } from "./transport.ts";

/** A stream of which the test holds the other end. */
interface FakeStream {
  readonly sent: DeltaDiscoveryRequest[];
  readonly handlers: StreamHandlers<unknown>;
  readonly log: string[];
}

const L = "type.googleapis.com/test.Listener";
const C = "type.googleapis.com/test.Cluster";

function setUp() {
  const env = testEnv({ random: () => 0 });
  const streams: FakeStream[] = [];
  const transport: StreamTransport = {
    open<Request, Response>(_method: unknown, handlers: StreamHandlers<Response>): BidiStream<Request> {
      const stream: FakeStream = { sent: [], handlers: handlers as StreamHandlers<unknown>, log: [] };
      streams.push(stream);
      return {
        send: (message) => void stream.sent.push(message as DeltaDiscoveryRequest),
        pause: () => void stream.log.push("pause"),
        resume: () => void stream.log.push("resume"),
        close: () => void stream.log.push("close"),
      };
    },
  };
  const names = new Map<string, Set<string>>([
    [C, new Set()],
    [L, new Set()],
  ]);
  const updates: Update[] = [];
  const unanswered: string[] = [];
  const events: string[] = [];
  let versions: Record<string, string> = {};
  let answer: () => readonly Fault[] | Promise<readonly Fault[]> = () => [];
  let prepared: Promise<void> | undefined;
  const subscriber: Subscriber = {
    prepare: () => prepared,
    wanted: () => names,
    versions: (typeUrl) => (typeUrl === L ? versions : {}),
    apply(update) {
      updates.push(update);
      return answer();
    },
    unanswered: (_typeUrl, list) => unanswered.push(...list) > 0,
  };
  const ads = new Ads({
    open: openDelta,
    transport,
    node: create(NodeSchema, { id: "me" }),
    clock: env.clock,
    log: env.log,
    subscriber,
    doesNotExistTimeoutMs: 15_000,
    backoff: createBackoff(() => 0, { baseMs: 1_000, maxMs: 8_000 }),
    onConnected: () => void events.push("connected"),
    onDisconnected: (status, worked, delay) => void events.push(`ended ${status.code} ${worked} ${delay}`),
  });
  const lost: StreamStatus = { code: 14, message: "lost" };
  const respond = (stream: FakeStream, init: Parameters<typeof response>[0] = {}): void =>
    stream.handlers.onMessage(response(init));
  return {
    ads,
    env,
    streams,
    names,
    updates,
    unanswered,
    events,
    lost,
    respond,
    setVersions: (value: Record<string, string>) => void (versions = value),
    setAnswer: (value: typeof answer) => void (answer = value),
    setPrepared: (value: typeof prepared) => void (prepared = value),
  };
}

function response(init: { typeUrl?: string; nonce?: string; removed?: string[]; names?: string[] }) {
  return create(DeltaDiscoveryResponseSchema, {
    typeUrl: init.typeUrl ?? L,
    nonce: init.nonce ?? "n",
    removedResources: init.removed ?? [],
    resources: (init.names ?? []).map((name) => ({ name, version: "1", resource: { typeUrl: L } })),
  });
}

test("nothing is asked for without a name: an empty first request would be a wildcard (R9)", () => {
  const { ads, streams, names } = setUp();
  ads.start();
  expect(streams[0]?.sent).toEqual([]);
  names.get(L)?.add("a");
  ads.sync();
  ads.sync();
  expect(streams[0]?.sent.map((one) => [one.typeUrl, one.resourceNamesSubscribe, one.node?.id])).toEqual([
    [L, ["a"], "me"],
  ]);
});

test("subscriptions are differences (R22)", () => {
  const { ads, streams, names } = setUp();
  names.set(L, new Set(["a", "b"]));
  ads.start();
  names.set(L, new Set(["b", "c"]));
  ads.sync();
  const last = streams[0]?.sent.at(-1);
  expect([last?.resourceNamesSubscribe, last?.resourceNamesUnsubscribe, last?.responseNonce]).toEqual([
    ["c"],
    ["a"],
    "",
  ]);
  names.set(L, new Set());
  ads.sync();
  expect(streams[0]?.sent.at(-1)?.resourceNamesUnsubscribe).toEqual(["b", "c"]);
});

test("a late event of an ended stream never touches its successor (R2, R3)", () => {
  const { ads, env, streams, names, updates, events, lost, respond } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  const [first] = streams;
  respond(first!, { nonce: "old" });
  first!.handlers.onEnd(lost);
  env.clock.advance(500);
  expect(streams).toHaveLength(2);
  const [, second] = streams;
  respond(first!, { nonce: "late" });
  first!.handlers.onEnd(lost);
  first!.handlers.onOpen();
  expect(updates).toHaveLength(1);
  expect(streams).toHaveLength(2);
  expect(events).toEqual(["connected", "ended 14 true 500"]);
  // No nonce of the old stream on the new one.
  expect(second!.sent.map((one) => one.responseNonce)).toEqual([""]);
  expect(ads.connected).toBe(false);
});

test("back-off grows without an answer and is reset by the first one (R17)", () => {
  const { ads, env, streams, names, events, lost, respond } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  for (let i = 0; i < 6; i++) {
    streams.at(-1)!.handlers.onEnd(lost);
    env.clock.advance(10_000);
  }
  expect(events).toEqual([500, 1_000, 2_000, 4_000, 4_000, 4_000].map((delay) => `ended 14 false ${delay}`));
  respond(streams.at(-1)!);
  streams.at(-1)!.handlers.onEnd(lost);
  expect(events.at(-1)).toBe("ended 14 true 500");
  expect(streams).toHaveLength(7);
});

test("a stream on which there is nothing to say works too: silence resets the back-off (R17, R22)", () => {
  const { ads, env, streams, names, events, lost } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  streams[0]!.handlers.onEnd(lost);
  env.clock.advance(500);
  streams[1]!.handlers.onOpen();
  expect(ads.connected).toBe(true);
  env.clock.advance(4_999);
  expect(events).toEqual(["ended 14 false 500"]);
  env.clock.advance(1);
  expect(events.at(-1)).toBe("connected");
  streams[1]!.handlers.onEnd(lost);
  expect(events.at(-1)).toBe("ended 14 true 500");
  expect(ads.connected).toBe(false);
});

test("the first request of a new stream has all names and the versions that are held (R22)", () => {
  const { ads, env, streams, names, lost, setVersions } = setUp();
  names.set(L, new Set(["a", "b"]));
  ads.start();
  setVersions({ a: "7" });
  streams[0]!.handlers.onEnd(lost);
  env.clock.advance(500);
  const [request] = streams[1]!.sent;
  expect(request?.resourceNamesSubscribe).toEqual(["a", "b"]);
  expect(request?.initialResourceVersions).toEqual({ a: "7" });
});

test("the does-not-exist timer runs only on a standing stream, anew on each, and not for what is held (R10)", () => {
  const { ads, env, streams, names, unanswered, lost, setVersions } = setUp();
  names.set(L, new Set(["a", "b"]));
  setVersions({ b: "1" });
  ads.start();
  env.clock.advance(60_000);
  expect(unanswered).toEqual([]);
  streams[0]!.handlers.onOpen();
  env.clock.advance(14_000);
  streams[0]!.handlers.onEnd(lost);
  env.clock.advance(60_000);
  expect(unanswered).toEqual([]);
  streams[1]!.handlers.onOpen();
  env.clock.advance(15_000);
  expect(unanswered).toEqual(["a"]);
});

test("a name that was dropped and asked for again has its own timer (R10)", () => {
  const { ads, env, streams, names, unanswered } = setUp();
  names.set(L, new Set(["a", "x"]));
  ads.start();
  streams[0]!.handlers.onOpen();
  env.clock.advance(10_000);
  names.set(L, new Set(["x"]));
  ads.sync();
  names.set(L, new Set(["x", "a"]));
  ads.sync();
  env.clock.advance(5_000);
  expect(unanswered).toEqual(["x"]);
  env.clock.advance(10_000);
  expect(unanswered).toEqual(["x", "a"]);
});

test("ACK and NACK carry the nonce, a NACK has a text (R5)", () => {
  const { ads, streams, names, respond, setAnswer } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  respond(streams[0]!, { nonce: "1", names: ["a"] });
  setAnswer(() => [{ name: "a", message: "no good" }]);
  respond(streams[0]!, { nonce: "2", names: ["a"] });
  const [, ack, nack] = streams[0]!.sent;
  expect([ack?.responseNonce, ack?.errorDetail]).toEqual(["1", undefined]);
  expect([nack?.responseNonce, nack?.errorDetail?.code, nack?.errorDetail?.message]).toEqual([
    "2",
    3,
    'Listener "a": no good',
  ]);
  // Answered also when nothing of the type is subscribed any more.
  setAnswer(() => []);
  names.set(L, new Set());
  respond(streams[0]!, { nonce: "3", removed: ["a"] });
  expect(streams[0]!.sent.map((one) => one.responseNonce)).toContain("3");
});

test("while a response is being applied the stream is paused, and it is answered afterwards (R25)", async () => {
  const { ads, streams, names, respond, setAnswer } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  let finish: (faults: readonly Fault[]) => void = () => {};
  setAnswer(() => new Promise((resolve) => (finish = resolve)));
  respond(streams[0]!, { nonce: "1" });
  expect(streams[0]!.log).toEqual(["pause"]);
  expect(streams[0]!.sent).toHaveLength(1);
  finish([]);
  await Promise.resolve();
  expect(streams[0]!.log).toEqual(["pause", "resume"]);
  expect(streams[0]!.sent.at(-1)?.responseNonce).toBe("1");
});

test("while a response is prepared the stream is paused, and it is applied afterwards (R25)", async () => {
  const { ads, streams, names, updates, respond, setPrepared } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  const { promise, resolve } = Promise.withResolvers<void>();
  setPrepared(promise);
  respond(streams[0]!, { nonce: "1", names: ["a"] });
  expect(streams[0]!.log).toEqual(["pause"]);
  expect(updates).toEqual([]);
  resolve();
  await promise;
  expect(streams[0]!.log).toEqual(["pause", "resume"]);
  expect(updates).toHaveLength(1);
  expect(streams[0]!.sent.at(-1)?.responseNonce).toBe("1");
});

test("what was being prepared when its stream ended is never applied: its successor may know better", async () => {
  const { ads, streams, names, updates, lost, respond, setPrepared } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  const { promise, resolve } = Promise.withResolvers<void>();
  setPrepared(promise);
  respond(streams[0]!, { nonce: "1", names: ["a"] });
  streams[0]!.handlers.onEnd(lost);
  resolve();
  await promise;
  expect(updates).toEqual([]);
  expect(streams[0]!.sent).toHaveLength(1);
});

test("one name, two statements in one response: neither counts (R20)", () => {
  const { ads, streams, names, updates, respond } = setUp();
  names.set(L, new Set(["a", "b", "c"]));
  ads.start();
  respond(streams[0]!, { names: ["a", "b", "a", "c"], removed: ["c"] });
  expect(updates[0]?.resources.map((one) => one.name)).toEqual(["b"]);
  expect(updates[0]?.removed).toEqual([]);
  expect(streams[0]!.sent.at(-1)?.errorDetail?.message.split("\n")).toHaveLength(2);
});

test("close ends stream and timers, and is the end", () => {
  const { ads, env, streams, names, events, lost } = setUp();
  names.set(L, new Set(["a"]));
  ads.start();
  streams[0]!.handlers.onOpen();
  ads.close();
  streams[0]!.handlers.onEnd(lost);
  env.clock.advance(60_000);
  expect(streams).toHaveLength(1);
  expect(streams[0]!.log).toEqual(["close"]);
  expect(events).toEqual([]);
  expect(env.clock.pending).toBe(0);
});

test("the text of a NACK is bounded (I9)", () => {
  const faults = Array.from({ length: 10_000 }, (_, index) => ({ name: `n${index}`, message: "x".repeat(100) }));
  const text = faultText(L, faults);
  expect(text.length).toBeLessThan(9_000);
  expect(text).toMatch(/and \d+ more$/);
  expect(faultText(L, [{ name: "n", message: "y".repeat(1e6) }]).length).toBeLessThan(9_000);
});
