import { once } from "node:events";
import http, { type RequestListener } from "node:http";
import https from "node:https";
import type { Server as TlsServer } from "node:tls";
import { type Call, createEngine, type RbacConfig } from "@trama/engine";
import connect from "express";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { type Listening, listening } from "../../../test/kit/listening.ts";
import { meshConfig } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { guarded, middleware, type MeshMiddleware, peerOf } from "../src/adapters/middleware.ts";
import { currentContext } from "../src/context.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import { internals } from "../src/internals.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { allow, inboundConfig, type Mode } from "./server-world.ts";

// The policy of the mesh in front of servers that keep their own listener.

const root = makeCertificate("root");
const webId = spiffe("shop", "web");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

interface World {
  readonly mesh: Mesh;
  readonly ended: Call[];
  readonly asked: string[];
  publish(address: string, mode: Mode, rbac?: readonly RbacConfig[]): void;
  answer: (address: string) => Promise<"found" | "missing">;
}

function world(identity: unknown = testIdentity(root, "shop", "reviews")): World {
  const clock = createClock();
  closers.push(() => clock.close());
  const ended: Call[] = [];
  const asked: string[] = [];
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const telemetry = { onCall: (call: Call) => void ended.push(call) };
  const engine = createEngine({ clock, random: () => 0.5, telemetry, log, regex: compileRegex });
  const mesh = {} as Mesh;
  const made: World = {
    mesh,
    ended,
    asked,
    publish: (address, mode, rbac = []) =>
      engine.publish(meshConfig({ inbound: [inboundConfig(address, mode, rbac)] })),
    answer: () => Promise.resolve("missing"),
  };
  const discovery = {
    inbound: (address: string) => {
      asked.push(address);
      return made.answer(address);
    },
  };
  internals.set(mesh, { engine, identity, clock, log, discovery, open: true } as never);
  return made;
}

async function listen(server: http.Server | https.Server): Promise<Listening> {
  const made = await listening(server);
  closers.push(made.close);
  return made;
}

const application: RequestListener = (incoming, response) =>
  void response.end(
    JSON.stringify({
      url: incoming.url,
      peer: peerOf(incoming)?.spiffeId ?? null,
      internal: incoming.headers["x-envoy-retry-on"] ?? null,
      deadline: currentContext(performance.now())?.deadlineMs !== undefined,
    }),
  );

async function ask(
  options: https.RequestOptions & { readonly secured?: boolean },
): Promise<{ status: number; text: string }> {
  const request = (options.secured === true ? https : http).get({ host: "127.0.0.1", agent: false, ...options });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode!, text };
}

test("plaintext: PERMISSIVE is nobody, STRICT is refused, rules hold", async () => {
  const made = world();
  const { address, port } = await listen(http.createServer(guarded(made.mesh, application)));
  made.publish(address, "PERMISSIVE");
  const open = await ask({ port, path: "/a", headers: { "x-envoy-retry-on": "5xx" } });
  expect([open.status, JSON.parse(open.text)]).toEqual([
    200,
    { url: "/a", peer: null, internal: null, deadline: false },
  ]);
  made.publish(address, "PERMISSIVE", [allow(webId)]);
  expect((await ask({ port })).status).toBe(403);
  made.publish(address, "STRICT");
  expect(await ask({ port })).toEqual({ status: 403, text: "this port asks for mutual TLS\n" });
  expect((await ask({ port, path: "/x#y" })).status).toBeOneOf([400, 403]);
  await until(() => made.ended.length === 2);
  expect(made.ended.map(({ record }) => record.status)).toEqual([200, 403]);
});

test("the server's own TLS: a certificate of the mesh is an identity, another root's is nobody, whatever the server trusts", async () => {
  const made = world();
  const stranger = makeCertificate("another root");
  const own = testIdentity(root, "shop", "reviews").current;
  const server = https.createServer(
    {
      key: own.keyPem,
      cert: own.chainPem,
      ca: [...own.rootsPem, stranger.certPem],
      requestCert: true,
      rejectUnauthorized: false,
    },
    guarded(made.mesh, application),
  );
  const { address, port } = await listen(server);
  const as = (from: Parameters<typeof testIdentity>[0], account = "web"): https.RequestOptions & { secured: true } => {
    const { keyPem, chainPem } = testIdentity(from, "shop", account).current;
    return { secured: true, port, key: keyPem, cert: chainPem, rejectUnauthorized: false, path: "/open" };
  };
  made.publish(address, "STRICT", [allow(webId, "/open")]);
  const known = await ask(as(root));
  expect([known.status, JSON.parse(known.text)]).toMatchObject([200, { peer: webId }]);
  expect((await ask({ ...as(root), path: "/shut" })).status).toBe(403);
  expect((await ask(as(root, "other"))).status).toBe(403);
  // It says to be `web`, and the server itself believes it.
  expect(await ask(as(stranger))).toEqual({ status: 403, text: "this port asks for mutual TLS\n" });
  const nobody = { secured: true, port, rejectUnauthorized: false } as const;
  expect((await ask(nobody)).status).toBe(403);
  made.publish(address, "PERMISSIVE");
  expect(JSON.parse((await ask(as(stranger))).text)).toMatchObject({ peer: null });
  (server as unknown as TlsServer).close();
});

test("it fails closed: no configuration, no identity, HTTP/2, a mount point", async () => {
  const made = world();
  const { address, port } = await listen(http.createServer(guarded(made.mesh, application)));
  expect(await ask({ port })).toEqual({ status: 503, text: "no configuration\n" });
  made.answer = () => Promise.reject(new Error("away"));
  expect((await ask({ port })).status).toBe(503);
  expect(made.asked).toEqual([address]);
  made.publish(address, "PERMISSIVE");
  expect((await ask({ port })).status).toBe(200);
  const nameless = world({ current: undefined });
  const second = await listen(http.createServer(guarded(nameless.mesh, application)));
  nameless.publish(second.address, "DISABLE");
  expect((await ask({ port: second.port })).status).toBe(403);
  const app = connect();
  app.use("/mounted", middleware(made.mesh));
  app.use((incoming, response) => application(incoming, response));
  const third = await listen(http.createServer(app));
  made.publish(third.address, "PERMISSIVE");
  expect(await ask({ port: third.port, path: "/mounted/x" })).toMatchObject({ status: 500 });
});

test("first in Express, and on upgrades", async () => {
  const made = world();
  const guard: MeshMiddleware = middleware(made.mesh);
  const app = connect();
  app.use(guard);
  app.get("/open", (incoming, response) => application(incoming, response));
  const server = http.createServer(app);
  let upgrades = 0;
  server.on("upgrade", (incoming, socket, head) =>
    guard.upgrade(incoming, socket as never, head, () => {
      upgrades++;
      socket.end("HTTP/1.1 101 Switching Protocols\r\nupgrade: test\r\nconnection: upgrade\r\n\r\n");
    }),
  );
  const { address, port } = await listen(server);
  made.publish(address, "PERMISSIVE");
  expect((await ask({ port, path: "/open" })).status).toBe(200);
  const upgrade = async (): Promise<number> => {
    const request = http.get({
      host: "127.0.0.1",
      port,
      agent: false,
      headers: { connection: "upgrade", upgrade: "test" },
    });
    request.on("upgrade", (_response, socket) => socket.destroy());
    const [response] = (await Promise.race([once(request, "upgrade"), once(request, "response")])) as [
      http.IncomingMessage,
    ];
    response.resume();
    return response.statusCode!;
  };
  expect(await upgrade()).toBe(101);
  made.publish(address, "STRICT");
  expect(await upgrade()).toBe(403);
  expect(upgrades).toBe(1);
});
