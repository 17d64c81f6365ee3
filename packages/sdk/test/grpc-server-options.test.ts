import { type ClientDuplexStream, type ServerDuplexStream, type ServerOptions, status } from "@grpc/grpc-js";
import http2 from "node:http2";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { mutualTls } from "./client-world.ts";
import { type GrpcServerWorld, grpcServerWorld } from "./grpc-server-world.ts";
import { type Done, get, type GrpcWorld, grpcWorld, none, type Unary } from "./grpc-world.ts";

/** What grpc-js's own options of a server do, holds for one that is protected. */

const root = makeCertificate("root");

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function reviews(grpc: ServerOptions): Promise<GrpcServerWorld> {
  const made = await grpcServerWorld(
    {
      ...none,
      Get: (call: Unary, done: Done) => done(null, call.request.repeat(2)),
      Chat: (call: ServerDuplexStream<string, string>) => {
        call.on("data", (each: string) => call.write(each));
        call.on("end", () => call.end());
      },
    },
    testIdentity(root, "shop", "reviews"),
    { grpc },
  );
  closers.push(() => made.close());
  made.publish("PERMISSIVE");
  return made;
}

function client(address: string): GrpcWorld {
  const made = grpcWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], tls: mutualTls(spiffe("shop", "reviews")) })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => made.close());
  return made;
}

test("message size limits of the server, both ways", async () => {
  const server = await reviews({ "grpc.max_receive_message_length": 100, "grpc.max_send_message_length": 150 });
  const web = client(server.address).connect();
  expect(await get(web, "x".repeat(70))).toHaveLength(140);
  await expect(get(web, "x".repeat(80))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  await expect(get(web, "x".repeat(101))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  expect(await get(web, "fine")).toBe("finefine");
});

test("connections that are too old end with GOAWAY, and neither a call nor a stream is lost", async () => {
  const server = await reviews({ "grpc.max_connection_age_ms": 60 });
  const mesh = client(server.address);
  const web = mesh.connect();
  const chat = (web["Chat"] as Function)() as ClientDuplexStream<string, string>;
  const ended = once(chat, "status");
  chat.write("first");
  expect(await once(chat, "data")).toEqual(["first"]);
  const connections = new Set<unknown>();
  // A connection that ages is gone from the listener once its last stream has ended.
  for (let calls = 0; calls < 2_000 && connections.size < 4; calls++) {
    expect(await get(web)).toBe("xx");
    for (const { listener: each } of server.guards) for (const one of each.connections) connections.add(one);
  }
  expect(connections.size).toBeGreaterThanOrEqual(4);
  chat.end("last");
  expect(await once(chat, "data")).toEqual(["last"]);
  expect(await ended).toMatchObject([{ code: status.OK }]);
  expect(mesh.ended.map(({ record }) => record.grpcStatus).filter((code) => code !== 0)).toEqual([]);
});

test("connections that nobody uses end, and the server pings those that are silent", async () => {
  const server = await reviews({ "grpc.max_connection_idle_ms": 50, "grpc.keepalive_time_ms": 10 });
  const session = http2.connect(`http://${server.address}`);
  session.on("error", () => {});
  const pinged = once(session, "ping");
  const goaway = once(session, "goaway");
  const closed = once(session, "close");
  closers.push(() => session.destroy());
  await pinged;
  expect((await goaway)[0]).toBe(http2.constants.NGHTTP2_NO_ERROR);
  await closed;
});
