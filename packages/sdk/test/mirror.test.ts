import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { fetch as undiciFetch, request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function serve(handler: http.RequestListener): Promise<string> {
  const { address, close } = await listening(http.createServer(handler));
  closers.push(close);
  return address;
}

interface Seen {
  readonly host: string | undefined;
  body: string;
  ended: boolean;
}

/** A backend that keeps what it was sent; `read: false` stops after the head. */
async function backend(seen: Seen[], read = true): Promise<string> {
  return serve((incoming, response) => {
    const found: Seen = { host: incoming.headers.host, body: "", ended: false };
    seen.push(found);
    if (!read) return;
    incoming.setEncoding("latin1").on("data", (text: string) => (found.body += text));
    incoming.on("end", () => {
      found.ended = true;
      response.end("ok");
    });
  });
}

function mirrored(main: string, mirror: string): ClientWorld {
  const mirrors = [{ cluster: "mirror", perMillion: 1_000_000, keepHost: false }];
  const world = clientWorld(
    meshConfig({
      outbound: [listener("reviews:80", [route(forward("main", { mirrors }))])],
      clusters: [
        cluster("main", { endpoints: [endpoint(main)] }),
        cluster("mirror", { endpoints: [endpoint(mirror)] }),
      ],
    }),
  );
  closers.push(() => world.close());
  return world;
}

function* pieces(count: number, size: number): Generator<Buffer> {
  for (let i = 0; i < count; i++) yield Buffer.alloc(size, String(i % 10));
}

test("a body that comes piece by piece reaches both, whole, and is read once", async () => {
  const [calls, copies]: [Seen[], Seen[]] = [[], []];
  const world = mirrored(await backend(calls), await backend(copies));
  for (const body of [Readable.from(pieces(50, 1_000)), Readable.from(pieces(50, 1_000)).pause()]) {
    const answer = await request("http://reviews/x", { method: "POST", body, dispatcher: world.dispatcher });
    expect(await answer.body.text()).toBe("ok");
  }
  await vi.waitFor(() => expect(world.mirrored).toEqual(["mirror answered 200", "mirror answered 200"]));
  expect(calls.map(({ host, body }) => [host, body.length])).toEqual([
    ["reviews", 50_000],
    ["reviews", 50_000],
  ]);
  expect(copies.map(({ host }) => host)).toEqual(["reviews-shadow", "reviews-shadow"]);
  expect(copies.map(({ body }) => body)).toEqual(calls.map(({ body }) => body));
});

test("fetch's own bodies, and those in memory", async () => {
  const [calls, copies]: [Seen[], Seen[]] = [[], []];
  const world = mirrored(await backend(calls), await backend(copies));
  const dispatcher = world.dispatcher;
  await (await undiciFetch("http://reviews/x", { method: "POST", body: "fetched", dispatcher })).text();
  await (await request("http://reviews/x", { method: "PUT", body: Buffer.from("buffer"), dispatcher })).body.text();
  await (await request("http://reviews/x", { dispatcher })).body.text();
  await vi.waitFor(() => expect(world.mirrored).toHaveLength(3));
  expect(calls.map(({ body }) => body)).toEqual(["fetched", "buffer", ""]);
  expect(copies.map(({ body }) => body).toSorted()).toEqual(["", "buffer", "fetched"]);
});

test("a mirror that does not read is given up when the copy is a megabyte behind; the call goes on", async () => {
  const [calls, copies]: [Seen[], Seen[]] = [[], []];
  const world = mirrored(await backend(calls), await backend(copies, false));
  const body = Readable.from(pieces(200, 64 * 1024));
  const answer = await request("http://reviews/x", { method: "POST", body, dispatcher: world.dispatcher });
  expect(await answer.body.text()).toBe("ok");
  expect(calls[0]!.body.length).toBe(200 * 64 * 1024);
  expect(world.mirrored).toEqual(["mirror dropped 0"]);
});

test("what the caller breaks off is broken off for the copy", async () => {
  const [calls, copies]: [Seen[], Seen[]] = [[], []];
  const world = mirrored(await backend(calls), await backend(copies));
  const body = new Readable({ read() {} });
  body.push("the first half");
  const controller = new AbortController();
  const call = request("http://reviews/x", {
    method: "POST",
    body,
    dispatcher: world.dispatcher,
    signal: controller.signal,
  });
  await vi.waitFor(() =>
    expect([...calls, ...copies].map((each) => each.body)).toEqual(Array(2).fill("the first half")),
  );
  controller.abort(new Error("no longer"));
  await expect(call).rejects.toThrow("no longer");
  await setImmediate();
  expect(world.mirrored).toEqual(["mirror dropped 0"]);
  expect(copies[0]!.ended).toBe(false);
});

test("an upgrade is not mirrored", async () => {
  const server = http.createServer().on("upgrade", (_request, socket) => {
    socket.end("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
  });
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const copies: Seen[] = [];
  const world = mirrored(`127.0.0.1:${(server.address() as AddressInfo).port}`, await backend(copies));
  const { socket } = await world.dispatcher.upgrade({ origin: "http://reviews", path: "/", protocol: "echo" } as never);
  socket.destroy();
  expect(copies).toEqual([]);
  expect(world.mirrored).toEqual(["mirror dropped 0"]);
});
