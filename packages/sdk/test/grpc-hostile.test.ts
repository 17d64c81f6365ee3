import { once } from "node:events";
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { Metadata, type ServerDuplexStream, type ServiceError, status, type ClientReadableStream } from "@grpc/grpc-js";
import { Call, HeaderList, type MeshConfig } from "@trama/engine";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import { OutboundMessages } from "../src/adapters/grpc-messages.ts";
import { type GrpcServerWorld, grpcServerWorld } from "./grpc-server-world.ts";
import { type Done, get, type GrpcWorld, grpcWorld, none, reviewsAt, type Unary } from "./grpc-world.ts";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

function world(config: MeshConfig): GrpcWorld {
  const made = grpcWorld(config);
  closers.push(() => made.close());
  return made;
}

type OnStream = (stream: http2.ServerHttp2Stream, path: string) => void;

/** A server that answers each stream as the test wants; `/shop.Reviews/Get` with request `fine` gets an honest answer. */
async function rawServer(onStream: OnStream): Promise<string> {
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    stream.resume();
    onStream(stream, String(headers["x-case"] ?? ""));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    for (const session of sessions) session.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const head = { ":status": 200, "content-type": "application/grpc" };

function frame(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Answers head, these bytes, and an OK. */
function answer(stream: http2.ServerHttp2Stream, bytes: Uint8Array, more: http2.OutgoingHttpHeaders = {}): void {
  stream.respond({ ...head, ...more }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(bytes);
}

const cases: Record<string, OnStream> = {
  fine: (stream) => answer(stream, frame(Buffer.from("fine"))),
  "trailers without a head": (stream) =>
    stream.respond({ ...head, "grpc-status": "5", "grpc-message": "not%20here" }, { endStream: true }),
  "no status at all": (stream) => stream.respond(head, { endStream: true }),
  "an HTML page": (stream) => {
    stream.respond({ ":status": 502, "content-type": "text/html" });
    stream.end("<html>".repeat(100));
  },
  "a reset": (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
  "a reset with CANCEL": (stream) => stream.close(http2.constants.NGHTTP2_CANCEL),
  "a reset with ENHANCE_YOUR_CALM": (stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM),
  "a reset after the head": (stream) => {
    stream.respond(head);
    stream.write(frame(Buffer.from("part")));
    setImmediate(() => stream.destroy(new Error("boom")));
  },
  "a lost connection": (stream) => stream.session!.socket.destroy(),
  "a status that is none": (stream) => stream.respond({ ...head, "grpc-status": "fourteen" }, { endStream: true }),
  "a message that claims 100 MB": (stream) => {
    stream.respond(head);
    stream.write(Buffer.from([0, 0x06, 0x40, 0, 0]));
  },
  "half a message": (stream) => answer(stream, frame(Buffer.from("whole")).subarray(0, 7)),
  "two messages": (stream) => answer(stream, Buffer.concat([frame(Buffer.from("one")), frame(Buffer.from("two"))])),
  "unknown compression": (stream) => answer(stream, frame(Buffer.from("?"), 1), { "grpc-encoding": "snappy" }),
  "compressed without saying how": (stream) => answer(stream, frame(Buffer.from("?"), 1)),
  "broken gzip": (stream) => answer(stream, frame(Buffer.from("not gzip"), 1), { "grpc-encoding": "gzip" }),
  "a gzip bomb": (stream) =>
    answer(stream, frame(gzipSync(Buffer.alloc(50 * 1024 * 1024)), 1), { "grpc-encoding": "gzip" }),
  "honest gzip": (stream) => answer(stream, frame(gzipSync("squeezed"), 1), { "grpc-encoding": "gzip" }),
  silence: () => {},
};

describe("a server that breaks the rules", () => {
  test.each<[name: string, code: number]>([
    ["trailers without a head", status.NOT_FOUND],
    ["no status at all", status.UNKNOWN],
    ["an HTML page", status.UNAVAILABLE],
    ["a reset", status.INTERNAL],
    ["a reset with CANCEL", status.CANCELLED],
    ["a reset with ENHANCE_YOUR_CALM", status.RESOURCE_EXHAUSTED],
    ["a reset after the head", status.INTERNAL],
    ["a lost connection", status.UNAVAILABLE],
    ["a status that is none", status.UNKNOWN],
    ["a message that claims 100 MB", status.RESOURCE_EXHAUSTED],
    ["half a message", status.INTERNAL],
    ["two messages", status.UNIMPLEMENTED],
    ["unknown compression", status.INTERNAL],
    ["compressed without saying how", status.INTERNAL],
    ["broken gzip", status.INTERNAL],
    ["a gzip bomb", status.RESOURCE_EXHAUSTED],
    ["silence", status.DEADLINE_EXCEEDED],
  ])("%s", async (name, code) => {
    const address = await rawServer((stream, wanted) => cases[wanted]!(stream, wanted));
    const mesh = world(reviewsAt(address));
    const client = mesh.connect();
    const as = (wanted: string): Metadata => {
      const metadata = new Metadata();
      metadata.set("x-case", wanted);
      return metadata;
    };
    // Another call on the same connection is not harmed, unless the connection itself is lost.
    const neighbour = name === "a lost connection" ? undefined : get(client, "x", {}, as("fine"));
    const error = (await get(
      client,
      "x",
      { deadline: Date.now() + (name === "silence" ? 100 : 4_000) },
      as(name),
    ).catch((thrown: unknown) => thrown)) as ServiceError;
    expect([error.code, error.message]).toEqual([code, expect.any(String)]);
    if (neighbour !== undefined) expect(await neighbour).toBe("fine");
    expect(await get(client, "x", {}, as("fine"))).toBe("fine");
    expect(await get(client, "x", {}, as("honest gzip"))).toBe("squeezed");
    await expect.poll(() => mesh.engine.active).toBe(0);
  });

  test("messages before a failing status are not lost", async () => {
    const address = await rawServer((stream) => {
      stream.respond(head, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "10", "grpc-message": "enough" }));
      stream.end(Buffer.concat(Array.from({ length: 50 }, (_, at) => frame(Buffer.from(String(at))))));
    });
    const client = world(reviewsAt(address)).connect();
    const stream = (client["List"] as (request: string) => ClientReadableStream<string>).call(client, "x");
    const seen: string[] = [];
    const failed = Promise.withResolvers<ServiceError>();
    stream.on("data", (each: string) => seen.push(each));
    stream.on("error", failed.resolve);
    expect(await failed.promise).toMatchObject({ code: status.ABORTED, details: "enough" });
    expect(seen).toHaveLength(50);
  });

  test("a peer that is no HTTP/2 server, and one that never shakes hands", async () => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.resume();
      socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    const mesh = world(reviewsAt(`127.0.0.1:${(server.address() as AddressInfo).port}`));
    await expect(get(mesh.connect(), "x", { deadline: Date.now() + 3_000 })).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
  });

  test("a stalled connection is found out by a ping", async () => {
    const peers = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      peers.add(socket);
      socket.on("error", () => {});
      socket.resume();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closers.push(() => {
      for (const peer of peers) peer.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    const mesh = world(reviewsAt(`127.0.0.1:${(server.address() as AddressInfo).port}`));
    const body = new OutboundMessages(
      "reviews:9090",
      "reviews:9090",
      { timeMs: 30, timeoutMs: 30, withoutCalls: false },
      undefined,
    );
    const call = new Call({
      snapshot: mesh.engine.current,
      side: "outbound",
      protocol: "grpc",
      method: "POST",
      authority: "reviews:9090",
      path: "/shop.Reviews/Get",
      headers: HeaderList.ofFlat(["te", "trailers"]),
      body,
      transport: mesh.transport,
      startMs: mesh.client.clock.now(),
    });
    const sink = new TestSink();
    mesh.engine.outbound("reviews:9090", call, sink);
    await sink.done;
    expect(sink.error).toMatchObject({ code: "RESET", message: expect.stringContaining("ping") as string });
  });
});

describe("a client that breaks the rules", () => {
  async function reviews(): Promise<{ world: GrpcServerWorld; session: http2.ClientHttp2Session }> {
    const made = await grpcServerWorld(
      {
        ...none,
        Get: (call: Unary, done: Done) => done(null, `got ${call.request.length}`),
        Chat: (call: ServerDuplexStream<string, string>) => {
          call.on("data", (each: string) => call.write(each));
          call.on("end", () => call.end());
          call.on("error", () => {});
        },
      },
      testIdentity(makeCertificate("root"), "shop", "reviews"),
    );
    closers.push(() => made.close());
    made.publish("DISABLE");
    const session = http2.connect(`http://${made.address}`);
    session.on("error", () => {});
    closers.push(() => session.destroy());
    return { world: made, session };
  }

  /** The status of a call that was sent as these bytes. */
  async function statusOf(
    session: http2.ClientHttp2Session,
    body: Uint8Array,
    more: http2.OutgoingHttpHeaders = {},
  ): Promise<string> {
    const stream = session.request({
      ":method": "POST",
      ":path": "/shop.Reviews/Get",
      "content-type": "application/grpc",
      te: "trailers",
      ...more,
    });
    stream.on("error", () => {});
    let status = "";
    const take = (fields: http2.IncomingHttpHeaders): void => {
      status ||= String(fields["grpc-status"] ?? "");
      const code = Number(fields[":status"] ?? 200);
      if (code !== 200) status = `HTTP ${code}`;
    };
    stream.on("response", take);
    stream.on("trailers", take);
    stream.resume();
    stream.end(body);
    await once(stream, "close");
    return status;
  }

  test.each<[name: string, body: Uint8Array, headers: http2.OutgoingHttpHeaders, status: string]>([
    ["a message that claims 100 MB", Buffer.from([0, 0x06, 0x40, 0, 0]), {}, "8"],
    ["unknown compression", frame(Buffer.from("?"), 1), { "grpc-encoding": "snappy" }, "12"],
    ["a gzip bomb", frame(gzipSync(Buffer.alloc(50 * 1024 * 1024)), 1), { "grpc-encoding": "gzip" }, "8"],
    ["no message at all", Buffer.alloc(0), {}, "12"],
    ["another content type", frame(Buffer.from("x")), { "content-type": "text/plain" }, "HTTP 415"],
    ["two hosts", frame(Buffer.from("x")), { ":authority": "reviews:9090", host: "other" }, "13"],
    ["a malformed authority", frame(Buffer.from("x")), { ":authority": "reviews:123456" }, "13"],
    ["a fragment in its path", frame(Buffer.from("x")), { ":path": "/shop.Reviews/Get#x" }, "13"],
    ["a method nobody has", frame(Buffer.from("x")), { ":path": "/shop.Reviews/Nothing" }, "12"],
    [
      "too many fields",
      frame(Buffer.from("x")),
      Object.fromEntries(Array.from({ length: 98 }, (_, at) => [`x-${at}`, "1"])),
      "13",
    ],
  ])("%s", async (_name, body, headers, expected) => {
    const { world: server, session } = await reviews();
    const neighbour = statusOf(session, frame(Buffer.from("fine")));
    expect(await statusOf(session, body, headers)).toBe(expected);
    expect(await neighbour).toBe("0");
    expect(await statusOf(session, frame(Buffer.from("still fine")))).toBe("0");
    await expect.poll(() => server.engine.active).toBe(0);
    await expect.poll(() => [...server.guards].every(({ requestsInFlight }) => requestsInFlight === 0)).toBe(true);
  });

  test("who compresses in a way that nobody knows is told which ways are known", async () => {
    const { session } = await reviews();
    const stream = session.request({
      ":method": "POST",
      ":path": "/shop.Reviews/Get",
      "content-type": "application/grpc",
      "grpc-encoding": "snappy",
    });
    stream.end(frame(Buffer.from("?"), 1));
    const [answer] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    stream.resume();
    await once(stream, "close");
    expect(answer).toMatchObject({ "grpc-status": "12", "grpc-accept-encoding": "identity,deflate,gzip" });
  });

  test("thousands of resets leave nothing behind, and others are served", async () => {
    const { world: server, session } = await reviews();
    for (let round = 0; round < 20; round++) {
      const streams = Array.from({ length: 50 }, () => {
        const stream = session.request({
          ":method": "POST",
          ":path": "/shop.Reviews/Chat",
          "content-type": "application/grpc",
        });
        stream.on("error", () => {});
        stream.close(http2.constants.NGHTTP2_CANCEL);
        return stream;
      });
      await Promise.all(streams.map((stream) => (stream.destroyed ? Promise.resolve() : once(stream, "close"))));
      if (session.destroyed) break;
    }
    const other = http2.connect(`http://${server.address}`);
    closers.push(() => other.destroy());
    expect(await statusOf(other, frame(Buffer.from("fine")))).toBe("0");
    await expect.poll(() => server.engine.active).toBe(0);
  });

  test("a client that vanishes inside a stream", async () => {
    const { world: server, session } = await reviews();
    const stream = session.request({
      ":method": "POST",
      ":path": "/shop.Reviews/Chat",
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.write(frame(Buffer.from("hello")));
    await once(stream, "response");
    expect(server.engine.active).toBe(1);
    session.destroy();
    await expect.poll(() => server.engine.active).toBe(0);
    expect(server.ended[0]!.record).toMatchObject({ grpcStatus: 1, flag: "DC", requestMessages: 1 });
  });

  test("garbage and silence on the port", async () => {
    const { world: server, session } = await reviews();
    const garbage = net.connect(server.port, "127.0.0.1");
    garbage.on("error", () => {});
    garbage.resume();
    garbage.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(garbage, "close");
    const silent = net.connect(server.port, "127.0.0.1");
    closers.push(() => silent.destroy());
    expect(await statusOf(session, frame(Buffer.from("fine")))).toBe("0");
  });
});
