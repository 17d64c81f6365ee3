import { once } from "node:events";
import type http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import {
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  status,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { MeshConfig, RbacConfig, UpstreamTls } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { type TestIdentity, testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { peerOf } from "../src/adapters/grpc-peer.ts";
import { clientWorld, mutualTls } from "./client-world.ts";
import { type GrpcServerWorld, grpcServerWorld } from "./grpc-server-world.ts";
import { type GrpcWorld, grpcWorld, ReviewsClient } from "./grpc-world.ts";
import { allow } from "./server-world.ts";

const root = makeCertificate("root");
const webId = spiffe("shop", "web");
const reviewsId = spiffe("shop", "reviews");

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

const service: UntypedServiceImplementation = {
  Get: (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) =>
    done(
      null,
      JSON.stringify({
        peer: peerOf(call)?.spiffeId ?? null,
        metadata: call.metadata.getMap(),
        left: +call.getDeadline() - Date.now(),
      }),
    ),
  List: () => {},
  Add: () => {},
  Chat: (call: ServerDuplexStream<string, string>) => {
    call.on("data", (each: string) => call.write(`echo ${each}`));
    call.on("end", () => call.end());
  },
};

async function server(
  options: { implementation?: UntypedServiceImplementation; http?: http.RequestListener } = {},
): Promise<GrpcServerWorld> {
  const made = await grpcServerWorld(
    options.implementation ?? service,
    testIdentity(root, "shop", "reviews"),
    options.http === undefined ? {} : { http: options.http },
  );
  closers.push(() => made.close());
  return made;
}

function client(config: MeshConfig, identity: TestIdentity = testIdentity(root, "shop", "web")): GrpcWorld {
  const made = grpcWorld(config, identity);
  closers.push(() => made.close());
  return made;
}

function to(address: string, tls: UpstreamTls | undefined = mutualTls(reviewsId)): MeshConfig {
  return meshConfig({
    outbound: [listener("reviews:9090", [route(forward("outbound|9090||reviews"))])],
    clusters: [cluster("outbound|9090||reviews", { endpoints: [endpoint(address)], tls, connectTimeoutMs: 2_000 })],
  });
}

interface Answer {
  readonly peer: string | null;
  readonly metadata: Record<string, string>;
  readonly left: number;
}

function get(from: ReviewsClient, metadata = new Metadata(), options = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    (from["Get"] as Function)("x", metadata, options, (error: ServiceError | null, answer: string) =>
      error === null ? resolve(JSON.parse(answer) as Answer) : reject(error),
    );
  });
}

const byMethod = (method: string): RbacConfig => allow(webId, `/shop.Reviews/${method}`);

test("mutual TLS: the handler knows who calls, and the peer header stays with the mesh", async () => {
  const reviews = await server();
  reviews.publish("STRICT");
  const web = client(to(reviews.address));
  const answer = await get(web.connect());
  expect(answer.peer).toBe(webId);
  expect(Object.keys(answer.metadata)).not.toContain("x-trama-peer");
  expect(reviews.ended[0]!.record).toMatchObject({
    grpcStatus: 0,
    mtls: true,
    peerPrincipal: webId,
    peerWorkload: "web;shop;web;v1;test",
    requestMessages: 1,
    responseMessages: 1,
  });
  expect(web.ended[0]!.record).toMatchObject({ mtls: true, peerPrincipal: reviewsId, grpcStatus: 0 });
});

test("authorization by method", async () => {
  const reviews = await server();
  reviews.publish("STRICT", [byMethod("List")]);
  const web = client(to(reviews.address));
  await expect(get(web.connect())).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
  expect(reviews.ended[0]!.record).toMatchObject({ grpcStatus: 7, requestMessages: 0 });
  reviews.publish("STRICT", [byMethod("Get")]);
  expect((await get(web.connect())).peer).toBe(webId);
});

test("a method that nobody registered passes the policy first", async () => {
  const reviews = await server();
  reviews.publish("STRICT", [byMethod("Get")]);
  const web = client(to(reviews.address));
  const call = (path: string) =>
    new Promise((resolve) => {
      const id = (bytes: Buffer) => bytes;
      web
        .connect()
        .makeUnaryRequest(path, id, id, Buffer.from(""), (error: ServiceError | null) => resolve(error?.code));
    });
  expect(await call("/shop.Reviews/Secret")).toBe(status.PERMISSION_DENIED);
  expect(await call("/shop.Reviews/GetOther")).toBe(status.UNIMPLEMENTED);
});

test("a stream that is refused ends for good, although its peer goes on sending", async () => {
  const reviews = await server();
  reviews.publish("DISABLE", [byMethod("List")]);
  const session = http2.connect(`http://${reviews.address}`);
  closers.push(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": "/shop.Reviews/Chat",
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.write(Buffer.alloc(1_000_000));
  const [head] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  expect(head["grpc-status"]).toBe("7");
  stream.resume();
  await once(stream, "close");
  await expect.poll(() => [...reviews.guards].map(({ requestsInFlight }) => requestsInFlight)).toEqual([0]);
  await expect.poll(() => reviews.engine.active).toBe(0);
});

test("STRICT cuts plaintext, PERMISSIVE takes both, and a plaintext peer is nobody", async () => {
  const reviews = await server();
  reviews.publish("STRICT");
  const plain = new ReviewsClient(reviews.address, credentials.createInsecure());
  closers.push(() => plain.close());
  await expect(get(plain, new Metadata(), { deadline: Date.now() + 1_000 })).rejects.toMatchObject({
    code: status.UNAVAILABLE,
  });
  reviews.publish("PERMISSIVE");
  // Its own connection: grpc-js shares those that failed, with their back-off.
  const again = new ReviewsClient(reviews.address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  closers.push(() => again.close());
  expect((await get(again)).peer).toBeNull();
  expect((await get(client(to(reviews.address)).connect())).peer).toBe(webId);
});

test("a foreign certificate is refused, on either side", async () => {
  const reviews = await server();
  reviews.publish("STRICT");
  const stranger = client(to(reviews.address), testIdentity(makeCertificate("other"), "shop", "web"));
  await expect(get(stranger.connect())).rejects.toMatchObject({ code: status.UNAVAILABLE });
  const expecting = client(to(reviews.address, mutualTls(spiffe("shop", "ratings"))));
  await expect(get(expecting.connect())).rejects.toMatchObject({
    code: status.UNAVAILABLE,
    cause: { code: "TLS_FAILED" },
  });
  // The server still serves others.
  expect((await get(client(to(reviews.address)).connect())).peer).toBe(webId);
});

test("HTTP and gRPC share a port", async () => {
  const reviews = await server({ http: (_request, response) => response.end("plain http") });
  reviews.publish("PERMISSIVE");
  const web = client(to(reviews.address));
  expect((await get(web.connect())).peer).toBe(webId);
  const overHttp = clientWorld(
    meshConfig({
      outbound: [listener("reviews:80", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(reviews.address)], tls: mutualTls(reviewsId) })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => overHttp.close());
  expect(await (await request("http://reviews/", { dispatcher: overHttp.dispatcher })).body.text()).toBe("plain http");
  // In plaintext the first bytes decide, however they come.
  const plain = new ReviewsClient(reviews.address, credentials.createInsecure());
  closers.push(() => plain.close());
  expect((await get(plain)).peer).toBeNull();
  const socket = net.connect(reviews.port, "127.0.0.1");
  socket.write("P");
  setImmediate(() => socket.write("UT / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n"));
  const [chunk] = (await once(socket, "data")) as [Buffer];
  expect(String(chunk)).toContain("200 OK");
  socket.destroy();
});

test("invalid grpc-timeout values are refused before grpc-js sees them", async () => {
  const reviews = await server();
  reviews.publish("DISABLE");
  const session = http2.connect(`http://${reviews.address}`);
  closers.push(() => session.destroy());
  const call = async (timeout: string): Promise<string> => {
    const stream = session.request({
      ":method": "POST",
      ":path": "/shop.Reviews/Get",
      "content-type": "application/grpc",
      "grpc-timeout": timeout,
    });
    stream.on("error", () => {});
    stream.end(Buffer.from([0, 0, 0, 0, 1, 120]));
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on("trailers", (fields: http2.IncomingHttpHeaders) => (trailers = fields));
    const [head] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    stream.resume();
    await once(stream, "close");
    return String(head["grpc-status"] ?? trailers["grpc-status"]);
  };
  for (const bad of ["123456789S", "-1S", "1", "S", "1 S", "", "1s", "99999999999999H", "1S1S"])
    expect([bad, await call(bad)]).toEqual([bad, "13"]);
  for (const good of ["1S", "99999999H", "99999999S", "1000m", "1H"])
    expect([good, await call(good)]).toEqual([good, "0"]);
});

test("what only the mesh may say does not reach the handler", async () => {
  const reviews = await server();
  reviews.publish("DISABLE");
  const plain = new ReviewsClient(reviews.address, credentials.createInsecure());
  closers.push(() => plain.close());
  const metadata = new Metadata();
  for (const name of ["x-trama-peer", "x-forwarded-client-cert", "x-envoy-expected-rq-timeout-ms"])
    metadata.set(name, "lie;shop");
  metadata.set("x-mine", "kept");
  const answer = await get(plain, metadata);
  expect(Object.keys(answer.metadata).filter((name) => name.startsWith("x-"))).toEqual(["x-mine"]);
  expect(reviews.ended[0]!.record.peerWorkload).toBeUndefined();
});

test("draining loses no call and no stream", async () => {
  const reviews = await server();
  reviews.publish("STRICT");
  const web = client(to(reviews.address));
  const connected = web.connect();
  await get(connected);
  const chat = (connected["Chat"] as Function)() as ClientDuplexStream<string, string>;
  chat.write("one");
  await once(chat, "data");
  const stopping = reviews.stop(5_000, 100);
  // A stream that is open goes on; its peer has learnt to open no other.
  chat.write("two");
  expect(await once(chat, "data")).toEqual(["echo two"]);
  chat.end();
  const [end] = (await once(chat, "status")) as [{ code: number }];
  expect(end.code).toBe(status.OK);
  await stopping;
  expect(reviews.ended.at(-1)!.record).toMatchObject({ grpcStatus: 0, requestMessages: 2, responseMessages: 2 });
});

test("a fault is injected before the handler", async () => {
  const reviews = await server();
  const abort = { httpStatus: undefined, grpcStatus: status.RESOURCE_EXHAUSTED, perMillion: 1_000_000 };
  reviews.publish("STRICT", [{ kind: "fault", delay: undefined, abort, headers: [], maxActive: undefined }]);
  await expect(get(client(to(reviews.address)).connect())).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
});

test("a peer that resets its stream: the handler hears of it, and so does telemetry", async () => {
  const cancelled = Promise.withResolvers<void>();
  const reviews = await server({
    implementation: {
      ...service,
      Get: (call: ServerUnaryCall<string, string>) => void call.on("cancelled", () => cancelled.resolve()),
    },
  });
  reviews.publish("STRICT");
  const web = client(to(reviews.address));
  const call = (web.connect()["Get"] as Function)("x", () => {}) as { cancel(): void };
  await expect.poll(() => reviews.engine.active).toBe(1);
  call.cancel();
  await cancelled.promise;
  await expect.poll(() => reviews.ended.length).toBe(1);
  expect(reviews.ended[0]!.record).toMatchObject({ grpcStatus: 1 });
});
