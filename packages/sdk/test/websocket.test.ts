import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Agent, Pool, request, WebSocket as UndiciWebSocket } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { meshInterceptor } from "../src/adapters/interceptor.ts";
import { mutualTls } from "./client-world.ts";
import { type HttpClientWorld, httpClientWorld, listening } from "./http-client-world.ts";
import { allow, type ServerWorld, serverWorld } from "./server-world.ts";

// WebSockets over mutual TLS, from a mesh client to a mesh server, and undici's own ways into the mesh.

const root = makeCertificate("root");
const webId = spiffe("shop", "web");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

interface Chat {
  readonly server: ServerWorld;
  readonly client: HttpClientWorld;
  readonly peers: (string | undefined)[];
}

/** A chat that says everything back; upgrades are permitted below `/chat`. */
async function chat(http2 = false): Promise<Chat> {
  const peers: (string | undefined)[] = [];
  const plain = http.createServer((_incoming, response) => response.end("no socket"));
  const sockets = new WebSocketServer({ server: plain });
  sockets.on("connection", (socket, incoming) => {
    peers.push(incoming.mesh?.peer.spiffeId);
    socket.on("message", (message, binary) => socket.send(message, { binary }));
  });
  const server = await serverWorld(plain, { identity: testIdentity(root, "shop", "reviews") });
  server.publish("STRICT", [allow(webId, "/chat")]);
  const client = httpClientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c", { timeoutMs: 3_000 }))])],
      clusters: [
        cluster("c", {
          http2,
          endpoints: [endpoint(server.address)],
          tls: mutualTls(spiffe("shop", "reviews")),
          connectTimeoutMs: 2_000,
        }),
      ],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(
    () => server.close(),
    () => client.close(),
    () => sockets.close(),
  );
  return { server, client, peers };
}

test.each([false, true])(
  "ws: a message comes back; the call counts until the socket closes (cluster of HTTP/2: %s)",
  async (http2) => {
    const { server, client, peers } = await chat(http2);
    const socket = new WebSocket("ws://reviews:9090/chat", { agent: client.agents.http });
    await once(socket, "open");
    const large = "z".repeat(300_000);
    for (const text of ["one", large]) {
      const answer = once(socket, "message");
      socket.send(text);
      expect(String(((await answer) as [Buffer])[0])).toBe(text);
    }
    expect(peers).toEqual([webId]);
    // The time-out of the route ended with the answer to the upgrade.
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect([client.engine.active, server.engine.active, client.ended.length]).toEqual([1, 1, 0]);
    socket.close();
    await once(socket, "close");
    await until(() => client.engine.active === 0 && server.engine.active === 0);
    expect(client.ended[0]!.record).toMatchObject({ status: 101, mtls: true });
  },
);

test("ws: refused by authorization before the application hears of it, with the status", async () => {
  const { client, peers } = await chat();
  const socket = new WebSocket("ws://reviews:9090/other", { agent: client.agents.http });
  const [, response] = (await once(socket, "unexpected-response")) as [unknown, http.IncomingMessage];
  expect(response.statusCode).toBe(403);
  response.resume();
  socket.on("error", () => {});
  socket.terminate();
  expect(peers).toEqual([]);
  const dead = httpClientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint("127.0.0.1:1")] })],
    }),
  );
  closers.push(() => dead.close());
  const [error] = (await once(new WebSocket("ws://reviews:9090/", { agent: dead.agents.http }), "error")) as [Error];
  expect(error).toMatchObject({ code: "CONNECT_FAILED" });
});

test("closing the mesh cuts what was switched", async () => {
  const { client } = await chat();
  const socket = new WebSocket("ws://reviews:9090/chat", { agent: client.agents.http });
  socket.on("error", () => {});
  await once(socket, "open");
  const closed = once(socket, "close");
  await client.transport.close(20);
  await closed;
  expect(client.engine.active).toBe(0);
});

test("a peer that vanishes closes the other end", async () => {
  const { server, client } = await chat();
  const socket = new WebSocket("ws://reviews:9090/chat", { agent: client.agents.http });
  socket.on("error", () => {});
  await once(socket, "open");
  for (const { socket: accepted } of server.guard.listener.connections) accepted.destroy();
  await once(socket, "close");
  await until(() => client.engine.active === 0);
});

test("undici's WebSocket by its dispatcher", async () => {
  const { client, peers } = await chat();
  const socket = new UndiciWebSocket("ws://reviews:9090/chat", { dispatcher: client.dispatcher });
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  const answer = new Promise<unknown>((resolve) => socket.addEventListener("message", ({ data }) => resolve(data)));
  socket.send("hello");
  expect(await answer).toBe("hello");
  socket.close();
  await until(() => client.engine.active === 0);
  expect(peers).toEqual([webId]);
});

test("CONNECT is refused in plain words", async () => {
  const { client } = await chat();
  const error = await client.dispatcher
    .connect({ origin: "http://reviews:9090", path: "a:1" })
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "BAD_REQUEST", message: expect.stringContaining("no forward proxy") as string });
});

test("an Agent and a Pool of the application's own, composed with the mesh", async () => {
  const { client } = await chat();
  const other = http.createServer((_incoming, response) => response.end("a stranger"));
  const stranger = await listening(other);
  closers.push(() => other.close());
  const agent = new Agent({ keepAliveTimeout: 10 }).compose(meshInterceptor(client.dispatcher));
  const inside = await request("http://reviews:9090/chat", { dispatcher: agent });
  expect(await inside.body.text()).toBe("no socket");
  const outside = await request(`http://${stranger}/`, { dispatcher: agent });
  expect(await outside.body.text()).toBe("a stranger");
  expect(client.ended).toHaveLength(1);
  const origin = "http://reviews:9090";
  const pool = new Pool(origin).compose(meshInterceptor(client.dispatcher, { origin }));
  const pooled = await pool.request({ path: "/chat", method: "GET" });
  expect(await pooled.body.text()).toBe("no socket");
  expect(client.ended).toHaveLength(2);
  // A host that nobody knows yet is asked for, and goes to the application's own dispatcher when it is none of the mesh's.
  const port = (other.address() as AddressInfo).port;
  const asked = await request(`http://nowhere.test:${port}/`, { dispatcher: agent }).catch((thrown: unknown) => thrown);
  expect(client.asked).toEqual([`nowhere.test:${port}`]);
  expect(asked).not.toMatchObject({ name: "MeshError" });
  await agent.close();
  await pool.close();
});
