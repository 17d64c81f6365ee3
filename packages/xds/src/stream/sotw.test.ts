import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { typeUrlOf, typeUrls } from "@trama/proto";
import { NodeSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import {
  type DiscoveryRequest,
  DiscoveryResponseSchema,
  ResourceSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { expect, test } from "vitest";

import { testEnv } from "../../../../test/kit/env.ts";
import { Ads } from "./ads.ts";
import { createBackoff } from "./backoff.ts";
import type { Fault, OpenSession, Subscriber, Update } from "./session.ts";
import { sotwSessions } from "./sotw.ts";
import type { BidiStream, StreamHandlers, StreamTransport } from "./transport.ts";

const { listener: L, clusterLoadAssignment: E } = typeUrls;

interface FakeStream {
  readonly sent: DiscoveryRequest[];
  readonly handlers: StreamHandlers<unknown>;
  readonly log: string[];
}

/** An Ads that speaks the state of the world, and the other end of its streams. */
function setUp(open: OpenSession = sotwSessions()) {
  const env = testEnv({ random: () => 0 });
  const streams: FakeStream[] = [];
  const transport: StreamTransport = {
    open<Request, Response>(_method: unknown, handlers: StreamHandlers<Response>): BidiStream<Request> {
      const stream: FakeStream = { sent: [], handlers: handlers as StreamHandlers<unknown>, log: [] };
      streams.push(stream);
      return {
        send: (message) => void stream.sent.push(message as DiscoveryRequest),
        pause: () => void stream.log.push("pause"),
        resume: () => void stream.log.push("resume"),
        close: () => void stream.log.push("close"),
      };
    },
  };
  const names = new Map<string, Set<string>>([
    [L, new Set()],
    [E, new Set()],
  ]);
  const updates: Update[] = [];
  const unanswered: string[] = [];
  const held: Record<string, string> = {};
  let prepared: Promise<void> | undefined;
  let answer: (update: Update) => readonly Fault[] | Promise<readonly Fault[]> = () => [];
  const subscriber: Subscriber = {
    prepare: () => prepared,
    wanted: () => names,
    versions: () => held,
    apply(update) {
      updates.push(update);
      return answer(update);
    },
    unanswered: (_typeUrl, list) => unanswered.push(...list) > 0,
  };
  const ads = new Ads({
    open,
    transport,
    node: create(NodeSchema, { id: "me" }),
    clock: env.clock,
    log: env.log,
    subscriber,
    doesNotExistTimeoutMs: 15_000,
    backoff: createBackoff(() => 0, { baseMs: 1_000 }),
    onConnected: () => {},
    onDisconnected: () => {},
  });
  const want = (typeUrl: string, ...list: string[]): void => {
    names.set(typeUrl, new Set(list));
    ads.sync();
  };
  const stream = (): FakeStream => streams.at(-1)!;
  return {
    ads,
    env,
    streams,
    stream,
    updates,
    unanswered,
    held,
    want,
    setAnswer: (value: typeof answer) => void (answer = value),
    setPrepared: (value: typeof prepared) => void (prepared = value),
    /** Opens a stream on which these were asked for. */
    begin: (typeUrl: string, ...list: string[]): void => {
      names.set(typeUrl, new Set(list));
      ads.start();
      stream().handlers.onOpen();
    },
    respond: (typeUrl: string, version: string, ...resources: (string | Any)[]) =>
      stream().handlers.onMessage(
        create(DiscoveryResponseSchema, {
          typeUrl,
          versionInfo: version,
          nonce: `n${version}`,
          resources: resources.map((one) => (typeof one === "string" ? bare(typeUrl, one) : one)),
        }),
      ),
    lose: () => {
      stream().handlers.onEnd({ code: 14, message: "lost" });
      env.clock.advance(1_000);
    },
    last: () => said(stream().sent.at(-1)),
  };
}

/** A resource with nothing but a name, which all types have in field 1. */
function bare(typeUrl: string, name: string, ...more: number[]): Any {
  const text = Buffer.from(name);
  return create(AnySchema, { typeUrl, value: Uint8Array.of(0x0a, text.length, ...text, ...more) });
}

function wrapped(init: Parameters<typeof create<typeof ResourceSchema>>[1]): Any {
  const value = toBinary(ResourceSchema, create(ResourceSchema, init));
  return create(AnySchema, { typeUrl: typeUrlOf(ResourceSchema), value });
}

/** A request as `names @version nonce`, with `!text` for a NACK. */
function said(request: DiscoveryRequest | undefined): string {
  if (request === undefined) return "";
  const { resourceNames, versionInfo, responseNonce, errorDetail } = request;
  return `${resourceNames.join()} @${versionInfo} ${responseNonce}${errorDetail ? ` !${errorDetail.message}` : ""}`;
}

test("a change of names sends the full list; an empty one only after names were sent (R9)", () => {
  const { ads, stream, want } = setUp();
  ads.start();
  expect(stream().sent).toEqual([]);
  want(L, "a");
  want(L, "a", "b");
  ads.sync();
  want(L, "b");
  want(L);
  want(L, "c");
  expect(stream().sent.map(said)).toEqual(["a @ ", "a,b @ ", "b @ ", " @ ", "c @ "]);
  expect(stream().sent.map((one) => one.node?.id)).toEqual(["me", undefined, undefined, undefined, undefined]);
});

test("the nonce is that of the last response of the type on this stream, also after nothing was wanted (R3)", () => {
  const { begin, respond, stream, want, lose } = setUp();
  begin(L, "a");
  want(E, "e");
  respond(L, "1", "a");
  want(L);
  respond(L, "2", "a"); // was on its way
  want(L, "b");
  expect(stream().sent.map(said)).toEqual(["a @ ", "e @ ", "a @1 n1", " @1 n1", " @2 n2", "b @2 n2"]);
  lose();
  expect(stream().sent.map(said)).toEqual(["b @2 ", "e @ "]);
});

test("the version accepted last is kept per type and across streams; a NACK says the one before it (R4, R5)", () => {
  const { begin, respond, last, lose, stream, setAnswer } = setUp();
  begin(L, "a", "b");
  respond(L, "7", "a", "b");
  expect(last()).toBe("a,b @7 n7");
  setAnswer(() => [{ name: "a", message: "no good" }]);
  respond(L, "8", "a", "b");
  expect(last()).toBe('a,b @7 n8 !Listener "a": no good');
  expect(stream().sent.at(-1)?.errorDetail?.code).toBe(3);
  lose();
  expect(last()).toBe("a,b @7 ");
  // R19: an older version on a new stream is simply the present one.
  setAnswer(() => []);
  respond(L, "3", "a", "b");
  expect(last()).toBe("a,b @3 n3");
});

test("versions are a server's own: another server's sessions start with none (R4)", () => {
  const one = setUp();
  one.begin(L, "a");
  one.respond(L, "7", "a");
  const other = setUp();
  other.begin(L, "a");
  expect(other.last()).toBe("a @ ");
});

test("absent from a response is deleted for listeners and clusters, and means nothing for the others (R12)", () => {
  const { begin, want, respond, updates, env, unanswered } = setUp();
  begin(L, "a", "b");
  want(E, "e", "f");
  respond(L, "1", "a");
  expect(updates.at(-1)?.removed).toEqual(["b"]);
  respond(L, "2", "a", "b");
  expect(updates.at(-1)?.removed).toEqual([]);
  respond(L, "3");
  expect(updates.at(-1)?.removed).toEqual(["a", "b"]);
  respond(E, "1", "e");
  expect(updates.at(-1)?.removed).toEqual([]);
  expect(unanswered).toEqual([]);
  env.clock.advance(15_000);
  // The table knows which of them were answered.
  expect(unanswered).toEqual(["a", "b", "e", "f"]);
});

test("nothing is concluded from a response that may have left before the name arrived (R12)", () => {
  const { begin, want, respond, updates, env, unanswered } = setUp();
  begin(L, "a");
  respond(L, "1", "a");
  want(L, "a", "b", "c");
  respond(L, "2", "a"); // may have been on its way
  expect(updates.at(-1)?.removed).toEqual([]);
  env.clock.advance(499);
  respond(L, "3", "a", "b"); // the true answer
  expect(unanswered).toEqual([]);
  env.clock.advance(1);
  // Of both the server has had its word by now; the table knows that b was in it.
  expect(unanswered).toEqual(["b", "c"]);
  respond(L, "4", "a");
  expect(updates.at(-1)?.removed).toEqual(["b", "c"]);
});

test("a refused resource is not an absent one, and one without a name may be any (R6, R12)", () => {
  const { begin, respond, updates, last } = setUp();
  begin(L, "a", "b");
  respond(L, "1", "a", "b");
  respond(L, "2", "a", create(AnySchema, { typeUrl: L, value: Uint8Array.of(0x0a, 9) }));
  expect(updates.at(-1)).toMatchObject({ removed: [], resources: [{ name: "a" }] });
  expect(last()).toContain('@1 n2 !Listener "resources[1]": broken bytes');
  // Broken behind its name: it is known whose fault it is.
  respond(L, "3", "a", bare(L, "b", 255, 255));
  expect(updates.at(-1)).toMatchObject({ removed: [], resources: [{ name: "a" }, { name: "b" }] });
  respond(L, "4", "a", create(AnySchema, { typeUrl: E, value: new Uint8Array() }));
  expect(last()).toContain("it is a type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
  respond(L, "5", "a", create(AnySchema, { typeUrl: L }));
  expect(last()).toContain("it has no name");
});

test("the same name twice is refused, and is neither used nor deleted (R20)", () => {
  const { begin, respond, updates, last } = setUp();
  begin(L, "a", "b");
  respond(L, "1", "a", "a", "b");
  expect(updates.at(-1)).toMatchObject({ removed: [], resources: [{ name: "b" }] });
  expect(last()).toContain("two things about this name");
});

test("resources may come wrapped, with name, version and time to live outside (R21)", () => {
  const { begin, respond, updates, last } = setUp();
  begin(L, "a", "b", "c");
  const ttl = { seconds: 10n, nanos: 0 };
  respond(
    L,
    "1",
    wrapped({ name: "a", version: "own", resource: bare(L, "inner"), ttl }),
    wrapped({ resource: bare(L, "b") }),
    "c",
  );
  expect(updates.at(-1)?.resources.map(({ name, version, ttlMs }) => [name, version, ttlMs])).toEqual([
    ["a", "own", 10_000],
    ["b", "1", undefined],
    ["c", "1", undefined],
  ]);
  expect(last()).toBe("a,b,c @1 n1");
});

test("a response of heartbeats renews what it names and deletes nothing (R21)", () => {
  const { begin, respond, updates } = setUp();
  begin(L, "a", "b");
  respond(L, "1", "a", "b");
  respond(L, "1", wrapped({ name: "a", ttl: { seconds: 10n, nanos: 0 } }));
  expect(updates.at(-1)).toEqual({
    typeUrl: L,
    removed: [],
    ownVersions: false,
    resources: [{ name: "a", version: "1", body: undefined, ttlMs: 10_000 }],
  });
});

test("while a response is applied nothing is said of its type, for that would be its ACK (R5, R25)", async () => {
  const { begin, want, respond, stream, setAnswer } = setUp();
  begin(L, "a");
  let finish: (faults: readonly Fault[]) => void = () => {};
  setAnswer(() => new Promise((resolve) => (finish = resolve)));
  respond(L, "1", "a");
  expect(stream().log).toEqual(["pause"]);
  want(L, "a", "b");
  want(E, "e"); // another type is another conversation
  expect(stream().sent.map(said)).toEqual(["a @ ", "e @ "]);
  finish([]);
  await Promise.resolve();
  expect(stream().log).toEqual(["pause", "resume"]);
  expect(stream().sent.map(said).slice(2)).toEqual(["a,b @1 n1"]);
});

test("a version that comes again right after it was refused is refused a second later, so that nobody spins (R5)", () => {
  const { begin, respond, want, last, stream, env, setAnswer } = setUp();
  setAnswer(({ resources }) => resources.flatMap(({ name }) => (name === "bad" ? [{ name, message: "is bad" }] : [])));
  begin(L, "bad");
  respond(L, "1", "bad");
  expect(last()).toBe('bad @ n1 !Listener "bad": is bad');
  const before = stream().sent.length;
  respond(L, "1", "bad");
  // What is wanted meanwhile goes with the answer, for a request with this nonce would be the answer.
  want(L, "bad", "c");
  expect(stream().sent).toHaveLength(before);
  env.clock.advance(999);
  expect(stream().sent).toHaveLength(before);
  env.clock.advance(1);
  expect(last()).toBe('bad,c @ n1 !Listener "bad": is bad');

  // Another version is another matter, and so is one that comes while the answer waits.
  respond(L, "2", "bad");
  expect(last()).toContain("n2 !");
  respond(L, "2", "bad");
  respond(L, "3", "c");
  expect(last()).toBe("bad,c @3 n3");
  const after = stream().sent.length;
  env.clock.advance(2_000);
  expect(stream().sent).toHaveLength(after);
});

test("while a response is prepared nothing is said of its type either, nor of what came of it (R25)", async () => {
  const { begin, want, respond, stream, updates, setPrepared } = setUp();
  begin(L, "a");
  const { promise, resolve } = Promise.withResolvers<void>();
  setPrepared(promise);
  respond(L, "1", "a");
  expect(stream().log).toEqual(["pause"]);
  want(L, "a", "b");
  expect(updates).toEqual([]);
  expect(stream().sent.map(said)).toEqual(["a @ "]);
  resolve();
  await promise;
  expect(stream().log).toEqual(["pause", "resume"]);
  expect(updates).toHaveLength(1);
  expect(stream().sent.map(said).slice(1)).toEqual(["a,b @1 n1"]);
});

test("what was dropped and wanted again meanwhile is asked for anew, or it would not be sent (R24)", async () => {
  const { begin, want, respond, stream, setAnswer } = setUp();
  begin(L, "a", "b");
  let finish: (faults: readonly Fault[]) => void = () => {};
  setAnswer(() => new Promise((resolve) => (finish = resolve)));
  respond(L, "1", "a", "b");
  want(L, "a");
  want(L, "a", "b");
  finish([]);
  await Promise.resolve();
  expect(stream().sent.map(said).slice(1)).toEqual(["a @1 n1", "a,b @1 n1"]);
});

test("the does-not-exist timer runs on a standing stream, anew on each, not for what is held (R10)", () => {
  const { ads, env, stream, want, unanswered, held, lose } = setUp();
  held["e"] = "1";
  ads.start();
  want(E, "e", "f");
  env.clock.advance(60_000);
  expect(unanswered).toEqual([]);
  stream().handlers.onOpen();
  env.clock.advance(14_000);
  lose();
  env.clock.advance(60_000);
  expect(unanswered).toEqual([]);
  stream().handlers.onOpen();
  env.clock.advance(15_000);
  expect(unanswered).toEqual(["f"]);
});

test("a late event of an ended stream never touches its successor (R2, R3)", () => {
  const { begin, streams, stream, respond, lose, updates, ads, env } = setUp();
  begin(L, "a");
  const [first] = streams;
  respond(L, "1", "a");
  lose();
  first!.handlers.onMessage(create(DiscoveryResponseSchema, { typeUrl: L, versionInfo: "late", nonce: "late" }));
  expect(updates).toHaveLength(1);
  expect(stream().sent.map(said)).toEqual(["a @1 "]);
  ads.close();
  expect(env.clock.pending).toBe(0);
});
