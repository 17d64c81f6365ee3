import {
  createSecureServer,
  createServer as createHttp2Server,
  type Http2SecureServer,
  type Http2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { gzipSync } from "node:zlib";

import type { GrpcMethod } from "@trama/proto/lean";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../../test/kit/certs.ts";
import { leakCheck } from "../../../../test/kit/leak-check.ts";
import { listening } from "../../../../test/kit/listening.ts";
import type { XdsServer } from "../bootstrap.ts";
import { GrpcCall, type GrpcTransportOptions } from "./grpc-call.ts";
import { SharedConnection } from "./grpc-connection.ts";
import { frameMessage } from "./grpc-frames.ts";
import type { StreamStatus } from "./transport.ts";

let leaks: () => Promise<void>;
beforeAll(() => {
  leaks = leakCheck();
});
afterAll(() => leaks());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const method: GrpcMethod<string, string> = {
  path: "/test.Echo/Talk",
  requestSerialize: (text) => Buffer.from(text),
  responseDeserialize(bytes) {
    if (bytes.equals(Buffer.from("broken"))) throw new Error("it is broken");
    return bytes.toString();
  },
};

async function listen(server: Server | Http2Server | Http2SecureServer): Promise<string> {
  server.on("connection", (socket: Socket) => socket.on("error", () => {}));
  const { address, close } = await listening(server as Server);
  cleanups.push(close);
  return address;
}

/** A server of HTTP/2 that does as it is told with each stream. */
function http2(onStream: (stream: ServerHttp2Stream, path: unknown) => void): Promise<string> {
  const server = createHttp2Server();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    onStream(stream, headers[":path"]);
  });
  return listen(server);
}

interface Opened {
  readonly call: GrpcCall<string, string>;
  readonly said: string[];
  readonly ended: Promise<StreamStatus>;
  readonly opened: Promise<void>;
}

function open(
  uri: string,
  more: Partial<GrpcTransportOptions> = {},
  onMessage?: (call: Opened["call"]) => void,
): Opened {
  const server: XdsServer = { uri, channel: { kind: "insecure" }, call: [], features: new Set() };
  const said: string[] = [];
  const end = Promise.withResolvers<StreamStatus>();
  const stood = Promise.withResolvers<void>();
  const call = new GrpcCall({ server, ...more }, method, {
    onOpen: stood.resolve,
    onMessage(message) {
      said.push(message);
      onMessage?.(call);
    },
    onEnd: end.resolve,
  });
  cleanups.push(() => call.close());
  return { call, said, ended: end.promise, opened: stood.promise };
}

const grpcHead = { ":status": 200, "content-type": "application/grpc" } as const;

/** A head, these messages in one chunk, and an orderly end. */
function answer(stream: ServerHttp2Stream, ...messages: Buffer[]): void {
  stream.respond(grpcHead, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.concat(messages));
}

function framed(text: string): Buffer {
  return Buffer.concat(frameMessage(Buffer.from(text), false));
}

test("requests go out in order, those before the connection stood too; answers come back, then the status", async () => {
  let path: unknown;
  const uri = await http2((stream, asked) => {
    path = asked;
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => answer(stream, ...chunks));
  });
  const { call, said, opened, ended } = open(uri);
  call.send("one");
  await opened;
  call.send("two");
  call.end();
  await expect(ended).resolves.toEqual({ code: 0, message: "" });
  expect(said).toEqual(["one", "two"]);
  expect(path).toBe("/test.Echo/Talk");
});

test("R25: what comes while it is paused waits, even when it was in the chunk before, and the end with it", async () => {
  const uri = await http2((stream) => answer(stream, framed("a"), framed("b"), framed("c")));
  const first = Promise.withResolvers<void>();
  const { call, said, ended } = open(uri, {}, (one) => {
    one.pause();
    first.resolve();
  });
  await first.promise;
  expect(said).toEqual(["a"]);
  call.resume();
  expect(said).toEqual(["a", "b"]);
  call.resume();
  call.resume();
  await expect(ended).resolves.toEqual({ code: 0, message: "" });
  expect(said).toEqual(["a", "b", "c"]);
});

test.each([
  ["a status without a body", { ...grpcHead, "grpc-status": "7", "grpc-message": "not%20you" }, 7, "not you"],
  ["a message that is no percent-encoding", { ...grpcHead, "grpc-status": "7", "grpc-message": "50%" }, 7, "50%"],
  ["a status that is no number", { ...grpcHead, "grpc-status": "x" }, 2, ""],
  ["no status", grpcHead, 2, "the answer ended without a gRPC status"],
  ["somebody who speaks HTTP", { ":status": 503 }, 14, "it answered with HTTP status 503"],
  ["a gateway that wants to know who we are", { ":status": 401 }, 16, "it answered with HTTP status 401"],
])("the end: %s", async (_what, head, code, message) => {
  const uri = await http2((stream) => stream.respond(head, { endStream: true }));
  await expect(open(uri).ended).resolves.toEqual({ code, message });
});

test("a body that is not gRPC is not read as if it were", async () => {
  const uri = await http2((stream) => {
    stream.respond({ ":status": 502, "content-type": "text/html" });
    stream.end("<html>".repeat(100));
  });
  const { said, ended } = open(uri);
  await expect(ended).resolves.toMatchObject({ code: 14 });
  expect(said).toEqual([]);
});

test("an answer of another type is told by its name", async () => {
  const uri = await http2((stream) => {
    stream.respond({ ":status": 200, "content-type": "text/html" });
    stream.end("<html>".repeat(100));
  });
  const { said, ended } = open(uri);
  await expect(ended).resolves.toEqual({ code: 2, message: "it answered with text/html, which is not gRPC" });
  expect(said).toEqual([]);
});

test("compressed messages are read, within the limit and by the methods that we name", async () => {
  const packed = (text: string): Buffer => Buffer.concat(frameMessage(gzipSync(text), true));
  const uri = await http2((stream) => {
    stream.respond({ ...grpcHead, "grpc-encoding": "gzip" });
    stream.write(Buffer.concat([packed("hello"), packed("x".repeat(10_000))]));
  });
  const { said, ended } = open(uri, { maxMessageBytes: 1_000 });
  await expect(ended).resolves.toMatchObject({ code: 13, message: expect.stringContaining("cannot be read") });
  expect(said).toEqual(["hello"]);
  const odd = await http2((stream) => {
    stream.respond({ ...grpcHead, "grpc-encoding": "snappy" });
    stream.write(packed("hello"));
  });
  await expect(open(odd).ended).resolves.toMatchObject({ code: 13, message: expect.stringContaining('"snappy"') });
});

test("a message that is too large, one that cannot be read, a reset: each ends the call", async () => {
  const large = await http2((stream) => {
    stream.respond(grpcHead);
    stream.write(framed("x".repeat(2_000)));
  });
  await expect(open(large, { maxMessageBytes: 1_000 }).ended).resolves.toMatchObject({ code: 8 });
  const broken = await http2((stream) => {
    stream.respond(grpcHead);
    stream.write(framed("broken"));
  });
  await expect(open(broken).ended).resolves.toMatchObject({
    code: 13,
    message: expect.stringContaining("it is broken"),
  });
  const refused = await http2((stream) => stream.close(7));
  await expect(open(refused).ended).resolves.toMatchObject({ code: 14 });
});

test("a connection that is lost, or cannot be had", async () => {
  const uri = await http2((stream) => stream.session!.destroy());
  const lost = open(uri);
  await expect(lost.ended).resolves.toMatchObject({ code: 14 });
  await expect(open("127.0.0.1:1").ended).resolves.toMatchObject({
    code: 14,
    message: expect.stringContaining("ECONNREFUSED"),
  });
  await expect(open("xds:///nobody").ended).resolves.toMatchObject({ code: 14 });
});

test("two tokens are one too many", async () => {
  const uri = await http2(() => {});
  const token = { kind: "token", read: () => "t" } as const;
  const server: XdsServer = { uri, channel: { kind: "insecure" }, call: [token, token], features: new Set() };
  await expect(open(uri, { server }).ended).resolves.toMatchObject({ code: 14 });
});

test("somebody who takes the connection and says nothing is given up, with TLS and without", async () => {
  const uri = await listen(createServer());
  await expect(open(uri, { silenceMs: 20 }).ended).resolves.toEqual({ code: 14, message: "no answer within 20 ms" });
  const channel = { kind: "tls", roots: undefined, certificate: undefined, serverName: "x" } as const;
  const server: XdsServer = { uri, channel, call: [], features: new Set() };
  const secured = open(uri, { silenceMs: 20, server });
  await expect(secured.ended).resolves.toEqual({ code: 14, message: "no connection within 20 ms" });
});

test("somebody who does not answer a ping is given up; pings are answered for as long as they are", async () => {
  const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  const dumb = await listen(createServer((socket) => socket.write(settings)));
  const { opened, ended } = open(dumb, { keepAliveMs: 10, silenceMs: 30 });
  await opened;
  await expect(ended).resolves.toEqual({ code: 14, message: "no answer to a ping within 30 ms" });
  let pings = 0;
  const third = Promise.withResolvers<void>();
  const server = createHttp2Server();
  server.on("session", (session) => session.on("ping", () => (++pings === 3 ? third.resolve() : undefined)));
  const alive = open(await listen(server), { keepAliveMs: 5, silenceMs: 5_000 });
  await third.promise;
  alive.call.close();
});

test("a TLS server that does not speak HTTP/2 is not spoken to", async () => {
  const root = makeCertificate("root");
  const own = makeCertificate("server", { issuer: root, dnsNames: ["server.test"] });
  let bytes = 0;
  const uri = await listen(
    createTlsServer({ key: own.keyPem, cert: own.certPem }, (socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
    }),
  );
  const channel = {
    kind: "tls",
    roots: { pem: root.certPem },
    certificate: undefined,
    serverName: "server.test",
  } as const;
  const server: XdsServer = { uri, channel, call: [], features: new Set() };
  await expect(open(uri, { server }).ended).resolves.toEqual({ code: 14, message: "it does not speak HTTP/2" });
  expect(bytes).toBe(0);
});

test("why a TLS connection cannot be had, in one line for people", async () => {
  const root = makeCertificate("root");
  const own = makeCertificate("server", { issuer: root, dnsNames: ["server.test"] });
  const listenTls = (more: TlsOptions): Promise<string> => listen(createTlsServer({ ...more }));
  const failure = async (uri: string, pem: string, serverName: string): Promise<string> => {
    const channel = { kind: "tls", roots: { pem }, certificate: undefined, serverName } as const;
    const { message } = await open(uri, { server: { uri, channel, call: [], features: new Set() } }).ended;
    return message;
  };
  const good = await listenTls({ key: own.keyPem, cert: own.certPem, ALPNProtocols: ["h2"] });
  await expect(failure(good, makeCertificate("other").certPem, "server.test")).resolves.toMatch(
    /^its certificate is not from the root certificate that we were given \(.*\)$/,
  );
  await expect(failure(good, root.certPem, "control-plane.test")).resolves.toBe(
    "its certificate is for DNS:server.test, and we know it as control-plane.test",
  );
  const web = await listenTls({ key: own.keyPem, cert: own.certPem, ALPNProtocols: ["http/1.1"] });
  await expect(failure(web, root.certPem, "server.test")).resolves.toBe("it does not speak HTTP/2");
  const plaintext = await listen(createServer((socket) => socket.end("220 hello\r\n")));
  await expect(failure(plaintext, root.certPem, "server.test")).resolves.toBe("it does not speak TLS");
  const old = await listenTls({ key: own.keyPem, cert: own.certPem, minVersion: "TLSv1", maxVersion: "TLSv1.1" });
  await expect(failure(old, root.certPem, "server.test")).resolves.toMatch(/^the TLS handshake failed: [^\n]+$/);
});

test("calls without a certificate of ours share a connection while it stands, and each ends by itself", async () => {
  const sockets: Socket[] = [];
  const server = createHttp2Server();
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.on("data", (chunk: Buffer) => {
      if (chunk.includes("finish")) answer(stream, chunk);
    });
  });
  const uri = await listen(server);
  const at: XdsServer = { uri, channel: { kind: "insecure" }, call: [], features: new Set() };
  const shared = new SharedConnection();
  const long = open(uri, { server: at, shared });
  const early = open(uri, { server: at, shared });
  await Promise.all([long.opened, early.opened]);
  const late = open(uri, { server: at, shared });
  await late.opened;
  expect(sockets.length).toBe(1);

  // The orderly end of one: the others go on, and a fourth may come.
  early.call.send("finish");
  await expect(early.ended).resolves.toEqual({ code: 0, message: "" });
  expect(early.said).toEqual(["finish"]);
  const fourth = open(uri, { server: at, shared });
  await fourth.opened;
  expect(sockets.length).toBe(1);

  // What is not the same has one of its own.
  const other = open(uri, { server: { ...at }, shared });
  await other.opened;
  expect(sockets.length).toBe(2);
  other.call.close();

  // The loss of the connection is everybody's, and the next call has a new one.
  sockets[0]!.destroy();
  for (const each of [long, late, fourth])
    await expect(each.ended).resolves.toEqual({ code: 14, message: "the connection was lost" });
  const next = open(uri, { server: at, shared });
  await next.opened;
  expect(sockets.length).toBe(3);

  // The last one to leave ends it.
  const closed = new Promise((resolve) => sockets[2]!.on("close", resolve));
  next.call.close();
  await closed;
});

test("where a call was given up without an answer no other begins: it may be that nobody is there any more", async () => {
  const sockets: Socket[] = [];
  const streams: ServerHttp2Stream[] = [];
  const both = Promise.withResolvers<void>();
  const server = createHttp2Server();
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    if (streams.push(stream) === 2) both.resolve();
  });
  const uri = await listen(server);
  const at: XdsServer = { uri, channel: { kind: "insecure" }, call: [], features: new Set() };
  const shared = new SharedConnection();
  const long = open(uri, { server: at, shared });
  const given = open(uri, { server: at, shared });
  await both.promise;
  const second = streams[1]!;
  const reset = new Promise((resolve) => second.on("close", () => resolve(second.rstCode)));
  given.call.close();
  await expect(reset).resolves.toBe(8);
  const again = open(uri, { server: at, shared });
  await again.opened;
  expect(sockets.length).toBe(2);
  // The one that stayed is not disturbed.
  expect(streams[0]!.closed).toBe(false);
  long.call.close();
});

test("a call that shows a certificate has a connection of its own, and one with other roots", async () => {
  const root = makeCertificate("root");
  const own = makeCertificate("server", { issuer: root, dnsNames: ["server.test"] });
  const shows = makeCertificate("client", { issuer: root });
  const server = createSecureServer({ key: own.keyPem, cert: own.certPem });
  let connections = 0;
  server.on("secureConnection", () => connections++);
  const uri = await listen(server);
  const tls = { kind: "tls", certificate: undefined, serverName: "server.test" } as const;
  const at: XdsServer = { uri, channel: { ...tls, roots: { pem: root.certPem } }, call: [], features: new Set() };
  const shared = new SharedConnection();
  const certificate = { certificatePem: shows.certPem, privateKeyPem: shows.keyPem };
  const twice = [open(uri, { server: at, shared }), open(uri, { server: at, shared })];
  const alone = open(uri, { server: at, shared, certificate: () => Promise.resolve(certificate) });
  await Promise.all([...twice, alone].map(({ opened }) => opened));
  expect(connections).toBe(2);
  const moreRoots = { pem: root.certPem + makeCertificate("another root").certPem };
  const elsewhere = open(uri, { server: { ...at, channel: { ...tls, roots: moreRoots } }, shared });
  await elsewhere.opened;
  expect(connections).toBe(3);
});
