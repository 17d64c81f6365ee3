import http from "node:http";
import net, { type Server } from "node:net";
import type { ForwardAction } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { clientWorld, mutualTls } from "./client-world.ts";

const root = makeCertificate("root");

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** Computes for so long, as an application may. */
function block(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

async function listen(server: Server): Promise<string> {
  const { address, close } = await listening(server);
  closers.push(close);
  return address;
}

/**
 * A call to that address, while the application computes. That one in peace is not marked is for a fake clock to show: on a busy machine
 * nobody has peace.
 */
async function error(address: string, action: Partial<ForwardAction>, options: ClusterOptions): Promise<unknown> {
  const mesh = clientWorld(
    meshConfig({
      outbound: [listener("reviews:80", [route(forward("c", action))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], ...options })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => mesh.close());
  const ended = request("http://reviews/", { dispatcher: mesh.dispatcher }).then(
    () => "answered",
    (thrown: unknown) => thrown,
  );
  block(180);
  return ended;
}

test("a deadline that the application itself sat out says so", async () => {
  const address = await listen(http.createServer(() => {}));
  expect(await error(address, { timeoutMs: 120 }, {})).toMatchObject({ code: "TIMEOUT", ownDelay: true });
});

test("a try gets back what the application took of its time, and its answer", async () => {
  const address = await listen(http.createServer((_request, response) => void setTimeout(() => response.end(), 60)));
  const retry = retryPolicy({ perTryTimeoutMs: 120, retryOn: ["connect-failure"] });
  expect(await error(address, { retry }, {})).toBe("answered");
});

test("so does a connection that was not made in time", async () => {
  const address = await listen(net.createServer(() => {}));
  const tls = mutualTls(spiffe("shop", "reviews"));
  expect(await error(address, {}, { tls, connectTimeoutMs: 120 })).toMatchObject({
    code: "CONNECT_FAILED",
    ownDelay: true,
  });
});
