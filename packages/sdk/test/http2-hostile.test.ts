import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { Readable } from "node:stream";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { until } from "../../../test/kit/until.ts";
import { clientWorld } from "./client-world.ts";
import { serverWorld } from "./server-world.ts";

// Peers of HTTP/2 that say anything at all, in frames: nothing of it ends the process, stays open, or keeps others from being served. An uncaught
// exception fails the run.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const literal = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0x00, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);

/** HPACK's static table: `:method`, `:scheme http`, `:path /`. */
const methods = [0x82, 0x83];
const words = ["content-length", "host", "cookie", "expect", "te", "x-a", "transfer-encoding", ":path", "connection"];
const values = ["0", "3", "reviews", "100-continue", "trailers", "chunked", "/b", "close", "\u0000", ""];

test("a client of a server that says anything at all: every request ends, with an answer or an error of the mesh", async () => {
  const random = seededRandom(Number(process.env["TRAMA_FUZZ_SEED"] ?? 7));
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const anything = (): Buffer => {
    const stream = pick([0, 1, 1, 3, 5, 2]);
    switch (below(8)) {
      case 0:
      case 1:
        // `:status 200`, `204`, `404`, or none.
        return frame(1, pick([4, 5, 4]), stream, Buffer.from(pick([[0x88], [0x89], [0x8d], []])));
      case 2:
        return frame(0, pick([0, 1]), stream, Buffer.alloc(below(50), "z"));
      case 3:
        return frame(3, 0, stream, Buffer.from([0, 0, 0, below(14)]));
      case 4:
        return frame(7, 0, 0, Buffer.from([0, 0, 0, pick([0, 1, 9]), 0, 0, 0, below(14)]));
      case 5:
        return frame(1, 4, stream, Buffer.concat([literal(":status", "103"), literal("link", "</a>")]));
      case 6:
        return frame(5, 4, 1, Buffer.from([0, 0, 0, 2, 0x82]));
      default:
        return frame(below(12), below(256), stream, Buffer.from(Array.from({ length: below(20) }, () => below(256))));
    }
  };
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.write(frame(4, 0, 0, Buffer.alloc(0)));
    // With each thing that the client says, something in return; in the end the connection goes.
    let left = 1 + below(6);
    socket.on("data", () => {
      if (left-- <= 0) socket.destroy();
      else socket.write(Buffer.concat(Array.from({ length: 1 + below(4) }, anything)));
    });
    setTimeout(() => socket.destroy(), 40);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { http2: true, endpoints: [endpoint(address)] })],
    }),
  );
  closers.push(() => client.close());
  const codes = new Set<string>();
  for (let round = 0; round < 40; round++)
    await Promise.all(
      Array.from({ length: 5 }, async (_, i) => {
        try {
          const answer = await request("http://reviews:9090/", {
            method: i % 2 === 0 ? "GET" : "PUT",
            body: i % 2 === 0 ? null : Readable.from([Buffer.from("a"), Buffer.from("b")]),
            dispatcher: client.dispatcher,
          });
          await answer.body.dump();
          codes.add("answered");
        } catch (thrown) {
          codes.add(String((thrown as { code?: string }).code));
        }
      }),
    );
  for (const code of codes)
    expect(["answered", "RESET", "REFUSED", "PROTOCOL_ERROR", "CONNECT_FAILED"], [...codes].join()).toContain(code);
  expect(client.engine.active).toBe(0);
});

test.each([
  ["an http.Server", false],
  ["a native http2 server", true],
] as const)("%s", async (_name, native) => {
  const random = seededRandom(Number(process.env["TRAMA_FUZZ_SEED"] ?? 7));
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const below = (n: number): number => Math.floor(random() * n);
  const handler: http.RequestListener = (incoming, response) => {
    incoming.on("error", () => {});
    incoming.resume();
    if (random() < 0.5) response.end("ok");
    else incoming.on("end", () => response.end("later"));
  };
  const world = await serverWorld(native ? http2.createServer(handler as never) : http.createServer(handler), {
    identity: testIdentity(makeCertificate("root"), "shop", "reviews"),
  });
  closers.push(() => world.close());
  world.publish("DISABLE");

  const headers = (): Buffer => {
    const parts = [Buffer.from([pick(methods), 0x86, 0x84]), literal(":authority", "reviews")];
    for (let i = below(4); i > 0; i--) parts.push(literal(pick(words), pick(values)));
    const block = Buffer.concat(parts);
    return random() < 0.1 ? block.subarray(0, below(block.length)) : block;
  };
  const anything = (): Buffer => {
    const stream = pick([0, 1, 1, 3, 5, 7, 2]);
    switch (below(9)) {
      case 0:
      case 1:
        return frame(1, pick([4, 5, 5, 0]), stream, headers());
      case 2:
      case 3:
        return frame(0, pick([0, 1]), stream, Buffer.alloc(below(40), "z"));
      case 4:
        return frame(3, 0, stream, Buffer.from([0, 0, 0, below(14)]));
      case 5:
        return frame(8, 0, stream, Buffer.from([0, 0, below(256), below(256)]));
      case 6:
        return frame(6, 0, 0, Buffer.alloc(8));
      case 7:
        return frame(9, pick([0, 4]), stream, headers());
      default:
        return frame(below(12), below(256), stream, Buffer.from(Array.from({ length: below(20) }, () => below(256))));
    }
  };
  for (let round = 0; round < 150; round++) {
    const socket = net.connect(world.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "connect");
    const frames = Array.from({ length: 1 + below(12) }, anything);
    const bytes = Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(0)), ...frames]);
    // In one piece, so that several things happen in one breath, or in two.
    const cut = random() < 0.5 ? bytes.length : below(bytes.length);
    socket.write(bytes.subarray(0, cut));
    await new Promise((resolve) => setImmediate(resolve));
    if (cut < bytes.length) socket.write(bytes.subarray(cut));
    if (random() < 0.3) socket.destroy();
    else socket.end();
    await new Promise((resolve) => socket.on("close", resolve).destroySoon());
  }
  await until(() => world.engine.active === 0 && world.guard.requestsInFlight === 0, "every request has ended");
  await until(() => world.guard.listener.connections.size === 0, "every connection is closed");
  const honest = http2.connect(`http://${world.address}`);
  closers.push(() => honest.destroy());
  const stream = honest.request({ ":path": "/", ":authority": "reviews" });
  const [answer] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  expect(answer[":status"]).toBe(200);
  stream.resume();
});
