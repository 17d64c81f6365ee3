import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { fetch } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { meshAgents } from "../src/adapters/http-agent.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";
import { type Done, get as callGet, grpcWorld, none, reviews, reviewsAt, type Unary } from "./grpc-world.ts";

// Endpoints that are Unix sockets (WorkloadEntry.address `unix://…`), over real ones.

const closers: (() => unknown)[] = [];
let folder = "";
let noLeaks: () => Promise<void>;
beforeAll(() => {
  noLeaks = leakCheck();
  folder = mkdtempSync(join(tmpdir(), "trama-unix-"));
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await noLeaks();
});

async function listen(server: Server & { closeAllConnections?: () => void }, path: string): Promise<void> {
  server.listen({ path: path.startsWith("@") ? `\0${path.slice(1)}` : path });
  await once(server, "listening");
  closers.push(() => {
    server.closeAllConnections?.();
    server.close();
  });
}

function world(path: string, options: ClusterOptions = {}, identity?: Parameters<typeof clientWorld>[1]): ClientWorld {
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(path)], ...options })],
    }),
    identity,
  );
  closers.push(() => client.close());
  return client;
}

const get = async ({ dispatcher }: ClientWorld): Promise<string> =>
  (await fetch("http://reviews:9090/one", { dispatcher })).text();

test("a path: undici and node:http, with the host that was called", async () => {
  const path = join(folder, "plain.sock");
  await listen(
    http.createServer((request, response) => response.end(`${request.headers.host} ${request.url}`)),
    path,
  );
  const client = world(path);
  expect(await get(client)).toBe("reviews:9090 /one");
  const { http: agent } = meshAgents(client.dispatcher, "ALLOW_ANY");
  const answer = await new Promise<string>((resolve, reject) => {
    http
      .get("http://reviews:9090/two", { agent }, (response) => {
        response.setEncoding("utf8").on("data", resolve);
      })
      .on("error", reject);
  });
  expect(answer).toBe("reviews:9090 /two");
});

test("HTTP/2", async () => {
  const path = join(folder, "h2.sock");
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => void sessions.add(session));
  server.on("stream", (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(String(headers[":path"]));
  });
  await listen(server, path);
  closers.push(() => sessions.forEach((session) => session.destroy()));
  expect(await get(world(path, { http2: true }))).toBe("/one");
});

test("gRPC", async () => {
  const path = join(folder, "grpc.sock");
  const server = new GrpcServer();
  const answers = { ...none, Get: (_call: Unary, done: Done) => done(null, "over a socket") };
  server.addService(reviews, answers);
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  );
  closers.push(() => server.forceShutdown());
  const mesh = grpcWorld(reviewsAt(path));
  closers.push(() => mesh.close());
  expect(await callGet(mesh.connect())).toBe("over a socket");
});

test("an abstract name, with the mesh's TLS: the server's identity is checked as anywhere", async () => {
  const path = `@trama-test-${process.pid}`;
  const root = makeCertificate("root");
  const [web, server] = [testIdentity(root, "shop", "web"), testIdentity(root, "shop", "reviews")];
  const { keyPem: key, chainPem: cert, rootsPem } = server.current;
  await listen(
    https.createServer({ key, cert, ca: [...rootsPem], requestCert: true }, (_request, response) => response.end("ok")),
    path,
  );
  const tls = (account: string): ClusterOptions => ({ tls: mutualTls(spiffe("shop", account)) });
  expect(await get(world(path, tls("reviews"), web))).toBe("ok");
  await expect(get(world(path, tls("ratings"), web))).rejects.toMatchObject({
    cause: { code: "TLS_FAILED", sent: false },
  });
});

test("nobody listens: an error that tells the path, and says that nothing was sent", async () => {
  const path = join(folder, "nobody.sock");
  await expect(get(world(path))).rejects.toMatchObject({
    cause: { code: "CONNECT_FAILED", sent: false, message: expect.stringContaining(path) },
  });
});
