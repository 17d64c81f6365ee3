import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";

import { fakeClock } from "../../../test/kit/clock.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

let noLeaks: () => Promise<void>;
let world: ClientWorld;
let server: Server;
const clock = fakeClock();
let cut: Promise<unknown> | undefined;

beforeAll(async () => {
  noLeaks = leakCheck();
  server = createServer((incoming, response) => {
    if (incoming.method === "GET") {
      cut = once(response, "close");
      response.write("the beginning");
    } else incoming.on("data", () => server.emit("piece")).on("end", () => response.end("fine"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const action = forward("c", { idleTimeoutMs: 100 });
  world = clientWorld(
    meshConfig({
      outbound: [listener("reviews:80", [route(action)])],
      clusters: [cluster("c", { endpoints: [endpoint(`127.0.0.1:${port}`)] })],
    }),
    undefined,
    "ALLOW_ANY",
    clock,
  );
});
afterAll(async () => {
  await world.close();
  server.closeAllConnections();
  server.close();
  await noLeaks();
});

test("an answer that falls silent is cut, and its server notices", async () => {
  const { body } = await request("http://reviews/", { dispatcher: world.dispatcher });
  const chunks = body[Symbol.asyncIterator]();
  expect(String((await chunks.next()).value)).toBe("the beginning");
  clock.advance(99);
  expect(world.ended).toEqual([]);
  clock.advance(1);
  await expect(chunks.next()).rejects.toMatchObject({ code: "IDLE_TIMEOUT" });
  await cut;
  expect(world.ended.at(-1)?.record).toMatchObject({ flag: "SI" });
});

test("a request that comes slowly, piece by piece, is none that is silent", async () => {
  const pieces = new PassThrough();
  const answer = request("http://reviews/", { dispatcher: world.dispatcher, method: "PUT", body: pieces });
  for (let at = 0; at < 5; at++) {
    pieces.write("piece");
    await once(server, "piece");
    clock.advance(90);
  }
  pieces.end();
  const { statusCode, body } = await answer;
  expect([statusCode, await body.text()]).toEqual([200, "fine"]);
});
