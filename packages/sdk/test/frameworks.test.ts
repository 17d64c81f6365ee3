import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createEngine } from "@trama/engine";
import Fastify from "fastify";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { type TestIdentity, testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { serve } from "../src/adapters/express.ts";
import { meshRequests, serverFactory } from "../src/adapters/fastify.ts";
import { ProtectedServer } from "../src/adapters/http-server.ts";
import { createServer } from "../src/adapters/http.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { clientWorld, mutualTls } from "./client-world.ts";
import { allow, inboundConfig } from "./server-world.ts";

const root = makeCertificate("root");
const webId = spiffe("shop", "web");

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** As much of a Mesh as an adapter touches; STRICT, and only `web` is let in below `/open`. */
function mesh(identity: TestIdentity): Pick<Mesh, "protect"> {
  const clock = createClock();
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const engine = createEngine({ clock, random: () => 0.5, telemetry: { onCall() {} }, log, regex: compileRegex });
  closers.push(() => clock.close());
  return {
    protect<S>(server: S): S {
      const guard = new ProtectedServer(server as Server, {
        engine,
        identity,
        clock,
        log,
        discovery: {
          inbound(address) {
            engine.publish(meshConfig({ inbound: [inboundConfig(address, "STRICT", [allow(webId, "/open")])] }));
            return Promise.resolve("found");
          },
        },
      });
      closers.push(() => guard.stop(200, 0));
      return server;
    },
  };
}

async function answers(port: number): Promise<void> {
  const config = meshConfig({
    outbound: [listener("reviews:80", [route(forward("c"))])],
    clusters: [cluster("c", { endpoints: [endpoint(`127.0.0.1:${port}`)], tls: mutualTls(spiffe("shop", "reviews")) })],
  });
  const world = clientWorld(config, testIdentity(root, "shop", "web"));
  try {
    const open = await request("http://reviews/open/door", { dispatcher: world.dispatcher });
    expect(await open.body.json()).toEqual({ peer: webId });
    const closed = await request("http://reviews/closed", { dispatcher: world.dispatcher });
    expect(closed.statusCode).toBe(403);
    await closed.body.dump();
  } finally {
    await world.close();
  }
}

// Express itself runs in the end-to-end tests: under the test runner's export conditions one of its CommonJS parts finds an ES module.
test("serve: any request listener, and request.mesh", async () => {
  const app: RequestListener = (incoming, response) => {
    response.end(JSON.stringify({ peer: incoming.mesh?.peer.spiffeId }));
  };
  const server = serve(mesh(testIdentity(root, "shop", "reviews")) as Mesh, app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await answers((server.address() as AddressInfo).port);
});

test("Fastify: listen() as ever, and request.mesh by the plug-in, in every scope", async () => {
  const app = Fastify({ serverFactory: serverFactory(mesh(testIdentity(root, "shop", "reviews")) as Mesh) });
  await app.register(meshRequests);
  await app.register(async (scope) => {
    scope.get("/*", (incoming) => Promise.resolve({ peer: incoming.mesh?.peer.spiffeId }));
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  await answers((app.server.address() as AddressInfo).port);
  await app.close();
});

test("createServer: the mesh's limits, unless the application has its own", async () => {
  const joined = mesh(testIdentity(root, "shop", "reviews")) as Mesh;
  const server = createServer(joined, (incoming, response) => {
    response.end(JSON.stringify({ peer: incoming.mesh?.peer.spiffeId }));
  });
  expect(server.keepAliveTimeout).toBe(65_000);
  expect(createServer(joined, { keepAliveTimeout: 1_000 }).keepAliveTimeout).toBe(1_000);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await answers((server.address() as AddressInfo).port);
});
