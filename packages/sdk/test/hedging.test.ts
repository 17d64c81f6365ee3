import http from "node:http";
import type { AddressInfo } from "node:net";
import type { MeshConfig } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import { clientWorld } from "./client-world.ts";
import { type Done, get, grpcWorld, plainServer, type Unary } from "./grpc-world.ts";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** Two endpoints in turn, a second attempt after 30 ms. */
function twoOf(addresses: readonly string[]): MeshConfig {
  const action = forward("c", {
    retry: retryPolicy({ retryOn: ["5xx"], retries: 1, idempotent: true }),
    hedge: { onPerTryTimeout: false, delayMs: 30, percentile: undefined },
  });
  return meshConfig({
    outbound: [listener("reviews:80", [route(action)]), listener("reviews:9090", [route(action)])],
    clusters: [
      cluster("c", {
        endpoints: addresses.map((address) => endpoint(address)),
        balancer: { kind: "round_robin" },
        connectTimeoutMs: 2_000,
      }),
    ],
  });
}

async function serve(handler: http.RequestListener): Promise<string> {
  const { address, close } = await listening(http.createServer(handler));
  closers.push(close);
  return address;
}

test("HTTP: the slow attempt is cut at its server, and its connection is not used again", async () => {
  const cut: string[] = [];
  const bodies: string[] = [];
  const slow = await serve((incoming, response) => {
    const { port } = incoming.socket.address() as AddressInfo;
    response.on("close", () => cut.push(`${port}: ${response.writableFinished ? "answered" : "cut"}`));
    incoming.on("data", (chunk: Buffer) => bodies.push(String(chunk)));
  });
  const quick = await serve((incoming, response) => {
    incoming.on("data", (chunk: Buffer) => bodies.push(String(chunk)));
    incoming.on("end", () => response.end("quick"));
  });
  const mesh = clientWorld(twoOf([slow, quick]));
  closers.push(() => mesh.close());
  const ask = async (): Promise<string> => {
    const { body } = await request("http://reviews/", { dispatcher: mesh.dispatcher, method: "PUT", body: "same" });
    return body.text();
  };
  for (let i = 0; i < 4; i++) expect(await ask()).toBe("quick");
  const hedged = mesh.ended.filter(({ record }) => record.attempts === 2);
  expect(hedged.length).toBeGreaterThan(0);
  await expect.poll(() => cut.length).toBe(hedged.length);
  expect(cut.every((text) => text.endsWith("cut"))).toBe(true);
  expect(new Set(bodies)).toEqual(new Set(["same"]));
  for (const { record } of mesh.ended) expect(record.endpoint!.address).toBe(quick);
});

test("gRPC: the slow attempt's stream is cancelled, the connection stays", async () => {
  let cancelled = 0;
  const slow = await plainServer({ Get: (call: Unary) => void call.on("cancelled", () => cancelled++) });
  const quick = await plainServer({ Get: (_call: Unary, done: Done) => done(null, "quick") });
  closers.push(
    () => slow.close(),
    () => quick.close(),
  );
  const mesh = grpcWorld(twoOf([slow.address, quick.address]));
  closers.push(() => mesh.close());
  const client = mesh.connect();
  for (let i = 0; i < 4; i++) expect(await get(client)).toBe("quick");
  const hedged = mesh.ended.filter(({ record }) => record.attempts === 2);
  expect(hedged.length).toBeGreaterThan(0);
  await expect.poll(() => cancelled).toBe(hedged.length);
});
