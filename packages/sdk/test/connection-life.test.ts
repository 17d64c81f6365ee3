import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import type { AddressInfo } from "node:net";
import type { ConnectionConfig } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";

// How HTTP/1.1 connections live (DestinationRule connectionPool). Those of HTTP/2: http2-upstream.test.ts.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

const nothing: ConnectionConfig = {
  idleTimeoutMs: undefined,
  maxDurationMs: undefined,
  maxRequests: undefined,
  maxStreams: undefined,
  keepAlive: undefined,
  tcpKeepAliveMs: undefined,
};

interface World extends ClientWorld {
  /** Connections that the server has accepted, and those that are open. */
  readonly accepted: () => number;
  readonly open: () => number;
  get(): Promise<void>;
  configure(connections: ConnectionConfig): void;
}

async function world(connections: Partial<ConnectionConfig>): Promise<World> {
  let accepted = 0;
  const open = new Set<net.Socket>();
  const server = http.createServer((_request, response) => response.end("ok"));
  server.keepAliveTimeout = 60_000;
  server.on("connection", (socket) => {
    accepted++;
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const config = (now: ConnectionConfig): ReturnType<typeof meshConfig> =>
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], connections: now })],
    });
  const client = clientWorld(config({ ...nothing, ...connections }));
  closers.push(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(client, {
    accepted: () => accepted,
    open: () => open.size,
    get: async () => {
      await (await request("http://reviews:9090/", { dispatcher: client.dispatcher })).body.dump();
    },
    configure: (now: ConnectionConfig) => client.engine.publish(config(now)),
  });
}

test("maxRequestsPerConnection: a connection takes so many, and 1 means none is kept", async () => {
  const two = await world({ maxRequests: 2 });
  for (let i = 0; i < 5; i++) await two.get();
  expect(two.accepted()).toBe(3);
  const one = await world({ maxRequests: 1 });
  for (let i = 0; i < 3; i++) await one.get();
  expect(one.accepted()).toBe(3);
  await until(() => one.open() === 0, "none is kept");
});

test("idleTimeout closes what nobody uses; without one an idle connection stays for the next", async () => {
  const short = await world({ idleTimeoutMs: 30 });
  await short.get();
  await until(() => short.open() === 0, "the idle connection is closed");
  const never = await world({ idleTimeoutMs: 0 });
  await never.get();
  await never.get();
  expect([never.accepted(), never.open()]).toEqual([1, 1]);
});

test("maxConnectionDuration: no request begins on an older one", async () => {
  const made = await world({ maxDurationMs: 40, idleTimeoutMs: 0 });
  await made.get();
  await new Promise((resolve) => setTimeout(resolve, 60));
  await made.get();
  expect(made.accepted()).toBe(2);
});

test("other settings make other connections; what is under way goes on, and equal ones are shared", async () => {
  const made = await world({});
  await made.get();
  made.configure({ ...nothing });
  await made.get();
  expect(made.accepted()).toBe(1);
  made.configure({ ...nothing, maxRequests: 9 });
  await made.get();
  expect(made.accepted()).toBe(2);
});

test("a connection is told once who calls, and a new one again", async () => {
  const root = makeCertificate("root");
  const id = spiffe("shop", "reviews");
  const leaf = makeCertificate("reviews", { issuer: root, uris: [id] });
  const told: unknown[] = [];
  const server = https.createServer(
    { key: leaf.keyPem, cert: leaf.certPem, ca: root.certPem, requestCert: true },
    (incoming, response) => {
      told.push(incoming.headers["x-trama-peer"]);
      // The third answer is the connection's last.
      response.writeHead(200, told.length === 3 ? { connection: "close" } : {}).end("ok");
    },
  );
  const { address, close } = await listening(server);
  closers.push(close);
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], tls: mutualTls(id) })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => client.close());
  for (let i = 0; i < 5; i++)
    await (await request("http://reviews:9090/", { dispatcher: client.dispatcher })).body.dump();
  const us = "web;shop;web;v1;test";
  expect(told).toEqual([us, undefined, undefined, us, undefined]);
});

test("who waits for a connection that cannot be made is served by the next one", async () => {
  // Refuses at first: a port that is known to be free.
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [
        cluster("c", {
          endpoints: [endpoint(`127.0.0.1:${port}`)],
          breaker: { maxConnections: 1, maxPending: 100 },
        }),
      ],
    }),
  );
  closers.push(() => client.close());
  const errors = await Promise.all(
    Array.from({ length: 20 }, () =>
      request("http://reviews:9090/", { dispatcher: client.dispatcher }).then(
        () => "answered",
        (error: { code: string }) => error.code,
      ),
    ),
  );
  expect(new Set(errors)).toEqual(new Set(["CONNECT_FAILED"]));
});
