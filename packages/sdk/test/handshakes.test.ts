import http from "node:http";
import net from "node:net";
import type { MeshConfig } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

// How many connections a burst makes: a handshake each would be the next stall (dataplane.md §15).

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function listen(server: net.Server): Promise<string> {
  const { address, close } = await listening(server);
  closers.push(close);
  return address;
}

function world(address: string, connectTimeoutMs = 1_000): ClientWorld {
  const config: MeshConfig = meshConfig({
    outbound: [listener("reviews:80", [route(forward("c"))])],
    clusters: [cluster("c", { endpoints: [endpoint(address)], connectTimeoutMs })],
  });
  const made = clientWorld(config);
  closers.push(() => made.close());
  return made;
}

async function get({ dispatcher }: ClientWorld, path = "/"): Promise<number> {
  const { statusCode, body } = await request(`http://reviews${path}`, { dispatcher });
  await body.dump();
  return statusCode;
}

test("a hundred calls at once are served, by eight connections and eight more for each moment that they last", async () => {
  let connections = 0;
  const server = http.createServer((_request, response) => response.end("ok"));
  server.on("connection", () => connections++);
  const from = world(await listen(server));
  const startMs = performance.now();
  const statuses = await Promise.all(Array.from({ length: 100 }, () => get(from)));
  const moments = (performance.now() - startMs) / 10;
  expect(statuses.every((status) => status === 200)).toBe(true);
  // However slow the machine is.
  expect(connections).toBeLessThanOrEqual(8 * (1 + Math.ceil(moments)));
});

test("calls that all take long get a connection each: none waits for another's answer", async () => {
  let open = 0;
  const all = Promise.withResolvers<void>();
  const server = http.createServer((_request, response) => {
    if (++open === 40) all.resolve();
    void all.promise.then(() => response.end());
  });
  const from = world(await listen(server));
  expect(new Set(await Promise.all(Array.from({ length: 40 }, () => get(from))))).toEqual(new Set([200]));
});

test("a call that is given up while it waits is forgotten; those that wait for an endpoint that takes none hear of it at once", async () => {
  // Accepts, and never speaks TLS: connections are never made.
  const silent = net.createServer(() => {});
  const address = await listen(silent);
  const config = meshConfig({
    outbound: [listener("reviews:80", [route(forward("c"))])],
    clusters: [
      cluster("c", {
        endpoints: [endpoint(address)],
        connectTimeoutMs: 200,
        tls: { kind: "server", certificate: undefined, roots: "none", crlFile: undefined, serverName: "a", names: [] },
      }),
    ],
  });
  const from = clientWorld(config);
  closers.push(() => from.close());
  const patience = new AbortController();
  const reason = new Error("enough");
  const calls = Array.from({ length: 30 }, (_, at) =>
    request("http://reviews/", {
      dispatcher: from.dispatcher,
      ...(at === 20 ? { signal: patience.signal } : {}),
    }).catch((error: unknown) => error),
  );
  patience.abort(reason);
  expect(await calls[20]).toBe(reason);
  const others = await Promise.all(calls.filter((_, at) => at !== 20));
  for (const error of others) expect(error).toMatchObject({ code: "CONNECT_FAILED", sent: false });
  expect(from.ended).toHaveLength(30);
});
