import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import type { MeshConfig, UpstreamTls } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { type TestIdentity, testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { peerOf } from "../src/adapters/connection.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";
import { allow, type ServerOptions, type ServerWorld, serverWorld } from "./server-world.ts";

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

const whoAmI: http.RequestListener = (incoming, response) => {
  const peer = peerOf(incoming);
  expect(incoming.mesh?.peer).toBe(peer);
  response.end(
    JSON.stringify({
      id: peer?.spiffeId ?? null,
      mtls: peer?.mtls,
      url: incoming.url,
      headers: incoming.headers,
      raw: incoming.rawHeaders,
    }),
  );
};

interface WhoAmI {
  readonly id: string | null;
  readonly mtls: boolean;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly raw: readonly string[];
}

async function server(
  handler: http.RequestListener | http.Server = whoAmI,
  options: Partial<ServerOptions> = {},
): Promise<ServerWorld> {
  const made = await serverWorld(handler instanceof http.Server ? handler : http.createServer(handler), {
    identity: testIdentity(root, "shop", "reviews"),
    ...options,
  });
  closers.push(() => made.close());
  return made;
}

function client(config: MeshConfig, identity: TestIdentity = testIdentity(root, "shop", "web")): ClientWorld {
  const made = clientWorld(config, identity);
  closers.push(() => made.close());
  return made;
}

/** `reviews:80` at that address, by these settings. */
function reviews(address: string, upstream: UpstreamTls | undefined = mutualTls(reviewsId)): MeshConfig {
  return meshConfig({
    outbound: [listener("reviews:80", [route(forward("outbound|80||reviews"))])],
    clusters: [
      cluster("outbound|80||reviews", { endpoints: [endpoint(address)], tls: upstream, connectTimeoutMs: 2_000 }),
    ],
  });
}

async function get(from: ClientWorld, path = "/"): Promise<WhoAmI> {
  const { statusCode, body } = await request(`http://reviews${path}`, { dispatcher: from.dispatcher });
  expect(statusCode).toBe(200);
  return (await body.json()) as WhoAmI;
}

/** Everything that a raw TCP client gets until the server closes. */
async function raw(port: number, text: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk) => (answer += String(chunk)));
  socket.on("error", () => {});
  socket.write(text);
  await new Promise((resolve) => socket.on("close", resolve));
  return answer;
}

test("mTLS both ways: each side knows the other, and the record says so", async () => {
  const served = await server();
  served.publish("STRICT");
  const from = client(reviews(served.address));
  expect(await get(from)).toMatchObject({ id: webId, mtls: true });
  expect(from.ended[0]!.record).toMatchObject({ mtls: true, peerPrincipal: reviewsId, status: 200 });
  await expect.poll(() => served.ended.length).toBe(1);
  expect(served.ended[0]!.record).toMatchObject({
    mtls: true,
    peerPrincipal: webId,
    peerWorkload: "web;shop;web;v1;test",
    status: 200,
  });
});

test("whom a connection belongs to is said once and remembered", async () => {
  const served = await server();
  served.publish("STRICT");
  const from = client(reviews(served.address));
  for (let i = 0; i < 3; i++) await get(from);
  await expect.poll(() => served.ended.length).toBe(3);
  expect(served.ended.map(({ record }) => record.peerWorkload)).toEqual(Array(3).fill("web;shop;web;v1;test"));
  const other = client(reviews(served.address), testIdentity(root, "elsewhere", "web"));
  for (let i = 0; i < 2; i++) await get(other);
  await expect.poll(() => served.ended.length).toBe(5);
  expect(served.ended.slice(3).map(({ record }) => record.peerWorkload)).toEqual([undefined, undefined]);
});

test("STRICT cuts plaintext without a byte; PERMISSIVE serves both on the one port", async () => {
  const served = await server();
  served.publish("STRICT");
  expect(await raw(served.port, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")).toBe("");
  served.publish("PERMISSIVE");
  expect(await raw(served.port, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).toMatch(
    /^HTTP\/1.1 200[^]*"id":null,"mtls":false/,
  );
  expect(await get(client(reviews(served.address)))).toMatchObject({ id: webId });
  served.publish("DISABLE");
  await expect(
    request("http://reviews/", { dispatcher: client(reviews(served.address)).dispatcher }),
  ).rejects.toMatchObject({ code: "TLS_FAILED", sent: false });
});

test("a plaintext client that sends byte by byte is served", async () => {
  const served = await server();
  served.publish("PERMISSIVE");
  const socket = net.connect(served.port, "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk) => (answer += String(chunk)));
  for (const byte of "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await once(socket, "close");
  expect(answer).toContain('"url":"/slow"');
});

test("RBAC runs before the handler: another identity and nobody get 403", async () => {
  let handled = 0;
  const served = await server((incoming, response) => (handled++, whoAmI(incoming, response)));
  served.publish("PERMISSIVE", [allow(webId)]);
  expect(await get(client(reviews(served.address)))).toMatchObject({ id: webId });
  const other = client(reviews(served.address), testIdentity(root, "shop", "other"));
  const refused = await request("http://reviews/", { dispatcher: other.dispatcher });
  expect(refused.statusCode).toBe(403);
  await refused.body.dump();
  expect(await raw(served.port, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).toMatch(/^HTTP\/1.1 403 /);
  expect(handled).toBe(1);
});

test("authorization runs in upgrades, CONNECT and expectations as well", async () => {
  const plain = http.createServer(whoAmI);
  const seen: string[] = [];
  plain.on("upgrade", (_incoming, socket) => {
    seen.push("upgrade");
    socket.end("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhi");
  });
  plain.on("connect", (_incoming, socket) => {
    seen.push("connect");
    socket.end("HTTP/1.1 200 OK\r\n\r\n");
  });
  plain.on("checkContinue", (_incoming, response) => (seen.push("continue"), response.end()));
  plain.on("checkExpectation", (_incoming, response) => (seen.push("expectation"), response.end()));
  const served = await server(plain);
  const attempts = [
    "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
  ];
  served.publish("PERMISSIVE", [allow(webId)]);
  for (const attempt of attempts) expect(await raw(served.port, attempt)).toMatch(/^HTTP\/1.1 403 /);
  expect(seen).toEqual([]);
  served.publish("PERMISSIVE");
  for (const attempt of attempts) expect(await raw(served.port, attempt)).toMatch(/^HTTP\/1.1 (?:101|200) /);
  expect(seen).toEqual(["upgrade", "continue", "expectation"]);
  // No route of the mesh takes CONNECT, so it never comes through.
  expect(await raw(served.port, "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n")).toMatch(/^HTTP\/1.1 404 /);
  expect(seen).not.toContain("connect");
});

test("a WebSocket goes through the mesh", async () => {
  const plain = http.createServer(whoAmI);
  plain.on("upgrade", (_incoming, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    socket.pipe(socket);
  });
  const served = await server(plain);
  served.publish("STRICT");
  const from = client(reviews(served.address));
  const { socket } = await new Promise<{ socket: Duplex }>((resolve, reject) => {
    from.dispatcher.upgrade({ path: "/", protocol: "x", origin: "http://reviews" } as never, (error, data) =>
      error === null ? resolve(data) : reject(error),
    );
  });
  socket.write("ping");
  const [echo] = (await once(socket, "data")) as [Buffer];
  expect(String(echo)).toBe("ping");
  socket.destroy();
});

test("what only the mesh may say is gone before the application sees the request", async () => {
  const served = await server();
  served.publish("PERMISSIVE");
  const answer = await raw(
    served.port,
    "GET / HTTP/1.1\r\nhost: x\r\nX-Trama-Peer: a;shop;c;d;e\r\nx-forwarded-client-cert: By=me\r\nX-Envoy-Original-Path: /a\r\nx-mine: 1\r\nconnection: close\r\n\r\n",
  );
  const seen = JSON.parse(answer.slice(answer.indexOf("{"), answer.lastIndexOf("}") + 1)) as WhoAmI;
  expect(Object.keys(seen.headers)).toEqual(["host", "x-mine", "connection"]);
  expect(seen.raw).toEqual(["host", "x", "x-mine", "1", "connection", "close"]);
  await expect.poll(() => served.ended.length).toBe(1);
  expect(served.ended[0]!.record.peerWorkload).toBeUndefined();
});

test("a peer header of another namespace than the certificate's is not believed", async () => {
  const served = await server();
  served.publish("STRICT");
  await get(client(reviews(served.address), testIdentity(root, "elsewhere", "web")));
  await expect.poll(() => served.ended.length).toBe(1);
  expect(served.ended[0]!.record.peerWorkload).toBeUndefined();
});

test("§24: what bare Node passes on is refused or brought to one form", async () => {
  const served = await server();
  served.publish("PERMISSIVE");
  const answer = (target: string, headers = "host: x\r\n"): Promise<string> =>
    raw(served.port, `GET ${target} HTTP/1.1\r\n${headers}connection: close\r\n\r\n`);
  expect(await answer("/", "host: x\r\nHost: y\r\n")).toMatch(/^HTTP\/1.1 400 /);
  expect(await answer("/", "host: a b\r\n")).toMatch(/^HTTP\/1.1 400 /);
  expect(await answer("/a#b")).toMatch(/^HTTP\/1.1 400 /);
  expect(await answer("http://y/a")).toMatch(/^HTTP\/1.1 400 /);
  expect(await answer("*")).toMatch(/^HTTP\/1.1 400 /);
  expect(await answer("http://X/a?b")).toContain('"url":"/a?b"');
  expect(await answer("/", `host: x\r\n${"x-a: 1\r\n".repeat(120)}`)).toMatch(/^HTTP\/1.1 431 /);
});

test("peers whose certificate is not one to trust do not get in", async () => {
  const served = await server();
  served.publish("STRICT");
  const stranger = makeCertificate("another root");
  const attempt = async (options: tls.ConnectionOptions): Promise<string> => {
    const socket = tls.connect({
      host: "127.0.0.1",
      port: served.port,
      ca: [root.certPem],
      checkServerIdentity: () => undefined,
      ...options,
    });
    let answer = "";
    socket.on("data", (chunk) => (answer += String(chunk)));
    socket.on("error", () => {});
    socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    await new Promise((resolve) => socket.on("close", resolve));
    return answer;
  };
  const leaf = (options: Parameters<typeof makeCertificate>[1]): tls.ConnectionOptions => {
    const made = makeCertificate("leaf", { issuer: root, ...options });
    return { key: made.keyPem, cert: made.certPem };
  };
  expect(await attempt(leaf({ uris: [webId] }))).toMatch(/^HTTP\/1.1 200 /);
  expect(await attempt({})).toBe("");
  expect(await attempt(leaf({ issuer: stranger, uris: [webId] }))).toBe("");
  expect(await attempt(leaf({ uris: [webId], notAfterMs: Date.now() - 1_000 }))).toBe("");
  expect(await attempt(leaf({ uris: [webId, spiffe("shop", "admin")] }))).toBe("");
  expect(await attempt(leaf({ dnsNames: ["web.shop"] }))).toBe("");
  expect(await attempt(leaf({ uris: ["spiffe://cluster.local/ns/shop/sa/web/extra"] }))).toBe("");
  expect(await attempt(leaf({ uris: [spiffe("shop", "web", "evil.example")] }))).toBe("");
  expect(await attempt(leaf({ uris: [webId], ca: true }))).toBe("");
});

test("a client refuses a server that is not who it must be, and nothing is sent", async () => {
  const served = await server();
  served.publish("STRICT");
  const from = client(reviews(served.address, mutualTls(spiffe("shop", "ratings"))));
  await expect(request("http://reviews/", { dispatcher: from.dispatcher })).rejects.toMatchObject({
    code: "TLS_FAILED",
    sent: false,
  });
  const unknown = client(reviews(served.address, { ...mutualTls(), identity: "vault" }));
  await expect(request("http://reviews/", { dispatcher: unknown.dispatcher })).rejects.toMatchObject({
    code: "TLS_FAILED",
    sent: false,
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(served.ended).toEqual([]);
});

test("R59: before the first configuration connections wait; without one for the port they are closed", async () => {
  const served = await server();
  const waiting = raw(served.port, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(served.guard.listener.waitingFor).toContain("configuration");
  served.publish("PERMISSIVE");
  expect(await waiting).toMatch(/^HTTP\/1.1 200 /);
  expect(served.guard.listener.waitingFor).toBeUndefined();

  const missing = await server(whoAmI, { inbound: () => Promise.resolve("missing") });
  expect(await raw(missing.port, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")).toBe("");
});

test("rule 9: a change of policy ends live connections that it no longer allows, after the answer under way", async () => {
  const release = Promise.withResolvers<void>();
  const served = await server((incoming, response) => {
    if (incoming.url === "/slow") void release.promise.then(() => response.end("slow answer"));
    else response.end("ok");
  });
  served.publish("PERMISSIVE");
  const idle = net.connect(served.port, "127.0.0.1");
  idle.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(idle, "data");
  const busy = raw(served.port, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
  await expect.poll(() => served.guard.requestsInFlight).toBe(1);
  const gone = once(idle, "close");
  served.publish("STRICT");
  await gone;
  release.resolve();
  expect(await busy).toContain("slow answer");
});

test("a certificate that ends ends its connection with the next request", async () => {
  let offsetMs = 0;
  const { createClock } = await import("../src/env/clock.ts");
  const real = createClock();
  closers.push(() => real.close());
  const served = await server(whoAmI, { clock: { ...real, wall: () => Date.now() + offsetMs } });
  served.publish("STRICT");
  const identity = makeCertificate("web", { issuer: root, uris: [webId] });
  const socket = tls.connect({
    host: "127.0.0.1",
    port: served.port,
    ca: [root.certPem],
    key: identity.keyPem,
    cert: identity.certPem,
    checkServerIdentity: () => undefined,
  });
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  expect(String((await once(socket, "data"))[0])).toMatch(/^HTTP\/1.1 200 /);
  offsetMs = 2 * 86_400_000;
  const closed = once(socket, "close");
  let more = "";
  socket.on("data", (chunk) => (more += String(chunk)));
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await closed;
  expect(more).toBe("");
});

test("silent peers and too many of them are turned away", async () => {
  const { createClock } = await import("../src/env/clock.ts");
  const real = createClock();
  closers.push(() => real.close());
  // Ten seconds pass in a tenth.
  const served = await server(whoAmI, {
    clock: {
      ...real,
      after: (ms, fn) => real.after(ms / 100, fn),
    },
  });
  served.publish("PERMISSIVE");
  const silent = net.connect(served.port, "127.0.0.1");
  await once(silent, "close");
  const half = net.connect(served.port, "127.0.0.1");
  half.write("\u0016");
  half.on("error", () => {});
  await new Promise((resolve) => half.on("close", resolve));
});

test("certificates of both sides are renewed under load, and no request fails", async () => {
  const serverIdentity = testIdentity(root, "shop", "reviews");
  const served = await server(undefined, { identity: serverIdentity });
  served.publish("STRICT");
  const clientIdentity = testIdentity(root, "shop", "web");
  const from = client(reviews(served.address), clientIdentity);
  let stop = false;
  let done = 0;
  const load = Array.from({ length: 8 }, async () => {
    while (!stop) {
      await get(from);
      done++;
    }
  });
  for (let i = 0; i < 6; i++) {
    const target = done + 40;
    await expect.poll(() => done, { timeout: 5_000 }).toBeGreaterThan(target);
    (i % 2 === 0 ? clientIdentity : serverIdentity).renew();
  }
  stop = true;
  await Promise.all(load);
  expect(done).toBeGreaterThan(240);
});

test("the drain loses no request, neither of keep-alive clients nor one under way", async () => {
  const served = await server(
    (incoming, response) => void setTimeout(() => response.end("ok"), incoming.url === "/slow" ? 300 : 2),
  );
  served.publish("STRICT");
  const from = client(reviews(served.address));
  const text = async (path: string): Promise<string> =>
    (await request(`http://reviews${path}`, { dispatcher: from.dispatcher })).body.text();
  let draining = false;
  const load = Array.from({ length: 8 }, async () => {
    while (!draining) expect(await text("/")).toBe("ok");
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  const slow = text("/slow");
  served.guard.drain();
  await new Promise((resolve) => setTimeout(resolve, 50));
  draining = true;
  await Promise.all(load);
  const stopped = served.guard.stop(5_000, 0);
  expect(await slow).toBe("ok");
  await stopped;
  expect(served.guard.requestsInFlight).toBe(0);
});

test("a request that arrives after the port was closed, on a connection that was open, is answered", async () => {
  const served = await server((_incoming, response) => void response.end("ok"));
  served.publish("PERMISSIVE");
  const [fresh, used] = await Promise.all(
    [0, 0].map(async () => {
      const socket = net.connect(served.port, "127.0.0.1");
      await once(socket, "connect");
      return socket;
    }),
  );
  const ask = async (socket: net.Socket): Promise<string> => {
    socket.write("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n");
    return String((await once(socket, "data"))[0]);
  };
  expect(await ask(used!)).toContain("200 OK");
  const stopped = served.guard.stop(5_000, 2_000);
  await expect(once(net.connect(served.port, "127.0.0.1"), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  for (const socket of [fresh!, used!]) {
    const answer = await ask(socket);
    expect(answer).toContain("200 OK");
    expect(answer.toLowerCase()).toContain("connection: close");
  }
  await stopped;
});

test("what cannot be protected is refused with a reason", async () => {
  const listening = http.createServer().listen(0, "127.0.0.1");
  await once(listening, "listening");
  closers.push(() => new Promise((resolve) => listening.close(resolve)));
  for (const unfit of [
    listening,
    (await import("node:https")).createServer(),
    (await import("node:http2")).createSecureServer(),
  ])
    await expect(serverWorld(unfit as http.Server, { identity: { current: undefined } })).rejects.toMatchObject({
      code: "OPTIONS_INVALID",
      field: "server",
    });
});
