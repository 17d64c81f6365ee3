import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { MeshError, type MeshConfig, type RouteConfig } from "@trama/engine";
import {
  Dispatcher1Wrapper,
  fetch as undiciFetch,
  getGlobalDispatcher,
  request,
  setGlobalDispatcher,
  stream,
} from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { collectGarbage } from "../../../test/kit/garbage.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import { meshFetch } from "../src/adapters/mesh-fetch.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** A server on a free port of loopback. */
async function serve(handler: http.RequestListener): Promise<string> {
  const { address, close } = await listening(http.createServer(handler));
  closers.push(close);
  return address;
}

function world(config: MeshConfig, policy?: "ALLOW_ANY" | "REGISTRY_ONLY"): ClientWorld {
  const made = clientWorld(config, undefined, policy);
  closers.push(() => made.close());
  return made;
}

/** `reviews:80` at these addresses. */
function reviews(
  addresses: readonly string[],
  action: Partial<Extract<RouteConfig["action"], { kind: "forward" }>> = {},
): MeshConfig {
  return meshConfig({
    outbound: [listener("reviews:80", [route(forward("outbound|80||reviews", action))])],
    clusters: [
      cluster("outbound|80||reviews", {
        endpoints: addresses.map((address) => endpoint(address)),
        connectTimeoutMs: 500,
      }),
    ],
  });
}

/** A port of loopback on which nobody listens. */
async function refusedAddress(): Promise<string> {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

const echo: http.RequestListener = (incoming, response) => {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    response.setHeader(
      "x-seen",
      JSON.stringify({
        method: incoming.method,
        url: incoming.url,
        host: incoming.headers.host,
        peer: incoming.headers["x-trama-peer"],
      }),
    );
    response.setHeader("set-cookie", ["a=1", "b=2"]);
    response.end(Buffer.concat(chunks));
  });
};

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly host: string;
  readonly peer?: string;
}

test("undici's request reaches the service that the mesh means, with the caller's Host", async () => {
  const { dispatcher, ended } = world(reviews([await serve(echo)]));
  const { statusCode, headers, body } = await request("http://reviews/a?b=1", {
    dispatcher,
    method: "POST",
    body: "hello",
    headers: { "x-trama-peer": "forged" },
  });
  expect(statusCode).toBe(200);
  expect(await body.text()).toBe("hello");
  const seen = JSON.parse(headers["x-seen"] as string) as Seen;
  expect(seen).toEqual({ method: "POST", url: "/a?b=1", host: "reviews" });
  expect(headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  expect(ended[0]!.record.status).toBe(200);
  expect(ended[0]!.record.cluster!.name).toBe("outbound|80||reviews");
});

test("query, header forms and https are the caller's own affair", async () => {
  const address = await serve(echo);
  const config = meshConfig({
    outbound: [listener("reviews:443", [route(forward("c"))])],
    clusters: [cluster("c", { endpoints: [endpoint(address)] })],
  });
  const { dispatcher } = world(config);
  const { headers, body } = await request("https://reviews/q", {
    dispatcher,
    query: { a: "1 2" },
    headers: ["x-a", "1", "Host", "other"],
  });
  await body.dump();
  expect(JSON.parse(headers["x-seen"] as string)).toMatchObject({ url: "/q?a=1%202", host: "other" });
});

test("npm undici's fetch and the built-in fetch go the same way", async () => {
  const { dispatcher } = world(reviews([await serve(echo)]));
  const npm = await undiciFetch("http://reviews/f", { dispatcher, method: "PUT", body: "x" });
  expect(await npm.text()).toBe("x");
  const builtin = await fetch("http://reviews/f", {
    dispatcher: new Dispatcher1Wrapper(dispatcher) as never,
    method: "PUT",
    body: "y",
  });
  expect(await builtin.text()).toBe("y");
  expect(builtin.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
});

test("a handler of an older undici, such as the built-in fetch's, is understood without a wrapper", async () => {
  const { dispatcher } = world(reviews([await serve(echo)]));
  const response = await fetch("http://reviews/f", { dispatcher: dispatcher as never, method: "PUT", body: "z" });
  expect(await response.text()).toBe("z");
});

test("setGlobalDispatcher catches the built-in fetch", async () => {
  const { dispatcher } = world(reviews([await serve(echo)]));
  const before = getGlobalDispatcher();
  setGlobalDispatcher(dispatcher);
  try {
    const response = await fetch("http://reviews/global");
    expect((JSON.parse(response.headers.get("x-seen")!) as Seen).url).toBe("/global");
    await response.text();
  } finally {
    setGlobalDispatcher(before);
  }
});

test("undici's stream and HEAD work, and informational answers are not heads", async () => {
  const { dispatcher } = world(
    reviews([
      await serve((incoming, response) => {
        response.writeEarlyHints({ link: "</a.css>; rel=preload" });
        response.setHeader("content-length", "4");
        response.end(incoming.method === "HEAD" ? undefined : "body");
      }),
    ]),
  );
  const head = await request("http://reviews/", { dispatcher, method: "HEAD" });
  expect(head.statusCode).toBe(200);
  expect(head.headers["content-length"]).toBe("4");
  await head.body.dump();
  const { Writable } = await import("node:stream");
  let text = "";
  await stream(
    "http://reviews/",
    { dispatcher, method: "GET" },
    () => new Writable({ write: (chunk, _e, done) => ((text += String(chunk)), done()) }),
  );
  expect(text).toBe("body");
});

test("trailers arrive", async () => {
  const { dispatcher } = world(
    reviews([
      await serve((_incoming, response) => {
        response.writeHead(200, { trailer: "x-sum" });
        response.write("a");
        response.addTrailers({ "x-sum": "42" });
        response.end();
      }),
    ]),
  );
  const { body, trailers } = await request("http://reviews/", { dispatcher });
  await body.text();
  expect(trailers).toEqual({ "x-sum": "42" });
});

test("law 5: an abort reaches the upstream, and the caller gets its own reason", async () => {
  const closed = Promise.withResolvers<void>();
  const { dispatcher, ended } = world(
    reviews([
      await serve((incoming) => {
        incoming.socket.on("close", () => closed.resolve());
      }),
    ]),
  );
  const reason = new Error("my own reason");
  const controller = new AbortController();
  const calling = request("http://reviews/", { dispatcher, signal: controller.signal });
  setTimeout(() => controller.abort(reason), 50);
  await expect(calling).rejects.toBe(reason);
  await closed.promise;
  expect(ended[0]!.record.flag).toBe("DC");
});

test("law 5: an abort in the middle of the answer, by fetch", async () => {
  const closed = Promise.withResolvers<void>();
  const { dispatcher } = world(
    reviews([
      await serve((incoming, response) => {
        response.write("first");
        incoming.socket.on("close", () => closed.resolve());
      }),
    ]),
  );
  const reason = new Error("enough");
  const controller = new AbortController();
  const response = await fetch("http://reviews/", {
    dispatcher: new Dispatcher1Wrapper(dispatcher) as never,
    signal: controller.signal,
  });
  const reading = response.text();
  controller.abort(reason);
  await expect(reading).rejects.toBe(reason);
  await closed.promise;
});

test("an abort before anything was sent costs no request", async () => {
  let requests = 0;
  const { dispatcher } = world(reviews([await serve((_i, response) => void (requests++, response.end()))]));
  const reason = new Error("never mind");
  await expect(request("http://reviews/", { dispatcher, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(requests).toBe(0);
});

test("a refused connection is retried at another endpoint, a POST as well, for nothing was sent", async () => {
  const retry = retryPolicy({
    retryOn: ["connect-failure"],
    backoffBaseMs: 1,
    backoffMaxMs: 1,
    avoidPreviousHosts: true,
    hostSelectionAttempts: 10,
  });
  const { dispatcher, ended } = world(reviews([await refusedAddress(), await serve(echo)], { retry }));
  for (let i = 0; i < 6; i++) {
    const { statusCode, body } = await request("http://reviews/", {
      dispatcher,
      method: "POST",
      body: Readable.from(["streamed"]),
    });
    expect(statusCode).toBe(200);
    expect(await body.text()).toBe("streamed");
  }
  expect(ended.some((call) => call.record.attempts === 2)).toBe(true);
});

test("errors are MeshErrors with facts: refused, cut before an answer, cut in the answer, broken protocol", async () => {
  const { dispatcher } = world(reviews([await refusedAddress()]));
  await expect(request("http://reviews/", { dispatcher })).rejects.toMatchObject({
    code: "CONNECT_FAILED",
    sent: false,
  });

  const cut = await serve((incoming) => void incoming.socket.destroy());
  await expect(
    request("http://reviews/", { dispatcher: world(reviews([cut])).dispatcher, method: "POST", body: "x" }),
  ).rejects.toMatchObject({ code: "RESET", sent: true });

  const half = await serve((incoming, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("half");
    setTimeout(() => incoming.socket.destroy(), 20);
  });
  const { body } = await request("http://reviews/", { dispatcher: world(reviews([half])).dispatcher });
  await expect(body.text()).rejects.toBeInstanceOf(MeshError);

  const noise = net.createServer((socket) => void socket.resume().end("this is not HTTP\r\n\r\n"));
  noise.listen(0, "127.0.0.1");
  await once(noise, "listening");
  closers.push(() => new Promise((resolve) => noise.close(resolve)));
  const address = `127.0.0.1:${(noise.address() as AddressInfo).port}`;
  await expect(request("http://reviews/", { dispatcher: world(reviews([address])).dispatcher })).rejects.toMatchObject({
    code: "PROTOCOL_ERROR",
    sent: true,
  });
});

test("malformed requests fail before anything is sent", async () => {
  const { dispatcher } = world(reviews([await serve(echo)]));
  for (const headers of [{ "bad name": "x" }, { "x-a": "line\nbreak" }, { "transfer-encoding": "chunked" }])
    await expect(request("http://reviews/", { dispatcher, headers })).rejects.toMatchObject({
      code: "BAD_REQUEST",
      sent: false,
    });
});

test("a dead connection in the pool is no failure: undici finds it before it writes", async () => {
  const server = http.createServer((_incoming, response) => response.end("ok"));
  server.keepAliveTimeout = 1;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  const { dispatcher } = world(reviews([`127.0.0.1:${(server.address() as AddressInfo).port}`]));
  for (let i = 0; i < 3; i++) {
    expect(await (await request("http://reviews/", { dispatcher })).body.text()).toBe("ok");
    server.closeIdleConnections();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test("back-pressure: a reader that stops stops the server, and memory stays flat both ways", async () => {
  const size = 64 * 1024 * 1024;
  let written = 0;
  const source = (): Readable => {
    let left = size;
    return new Readable({
      read() {
        const chunk = Buffer.alloc(Math.min(65_536, left));
        left -= chunk.length;
        written += chunk.length;
        this.push(chunk.length === 0 ? null : chunk);
      },
    });
  };
  const { dispatcher } = world(
    reviews([
      await serve((incoming, response) => {
        if (incoming.method === "GET") source().pipe(response);
        else {
          let got = 0;
          incoming.on("data", (chunk: Buffer) => (got += chunk.length));
          incoming.on("end", () => response.end(String(got)));
        }
      }),
    ]),
  );
  const { body } = await request("http://reviews/", { dispatcher });
  body.once("readable", () => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(written).toBeLessThan(size / 2);
  let got = 0;
  for await (const chunk of body) got += (chunk as Buffer).length;
  expect(got).toBe(size);

  const up = await request("http://reviews/", { dispatcher, method: "POST", body: source() });
  expect(await up.body.text()).toBe(String(size));
});

/** Of buffers that somebody can still reach. */
async function heldBytes(): Promise<number> {
  // What the first finds dead is given back while the loop turns.
  for (let time = 0; time < 3; time++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

test.each([
  ["a stream of Node's", (pieces: AsyncIterable<Buffer>) => Readable.from(pieces)],
  ["a generator", (pieces: AsyncIterable<Buffer>) => pieces],
])("fetch keeps nothing of a body that is %s", async (_name, bodyOf) => {
  const size = 64 * 1024 * 1024;
  const before = await heldBytes();
  let kept = 0;
  async function* pieces(): AsyncGenerator<Buffer> {
    const piece = Buffer.alloc(65_536);
    for (let written = 0; written < size; written += piece.length) yield piece;
    kept = (await heldBytes()) - before;
  }
  const { dispatcher } = world(
    reviews([
      await serve((incoming, response) => {
        let got = 0;
        incoming.on("data", (chunk: Buffer) => (got += chunk.length));
        incoming.on("end", () => response.end(String(got)));
      }),
    ]),
  );
  const init = { method: "POST", body: bodyOf(pieces()), duplex: "half" } as unknown as RequestInit;
  const answer = await meshFetch(dispatcher)("http://reviews/", init);
  expect(await answer.text()).toBe(String(size));
  expect(kept).toBeLessThan(size / 2);
});

test("a stream that fails aborts the request with its own error", async () => {
  const { dispatcher } = world(reviews([await serve(echo)]));
  const broken = new Readable({ read() {} });
  const calling = request("http://reviews/", { dispatcher, method: "POST", body: broken });
  broken.push("some");
  setTimeout(() => broken.destroy(new Error("disk on fire")), 20);
  await expect(calling).rejects.toThrow("disk on fire");
});

test("connections are reused one after the other, and bounded at once", async () => {
  let sockets = 0;
  const server = http.createServer((_incoming, response) => void setTimeout(() => response.end(), 5));
  server.on("connection", () => sockets++);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { dispatcher } = world(reviews([address]));
  for (let i = 0; i < 10; i++) await (await request("http://reviews/", { dispatcher })).body.dump();
  expect(sockets).toBe(1);

  sockets = 0;
  const bounded = world(
    meshConfig({
      outbound: [listener("reviews:80", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], breaker: { maxConnections: 2, maxPending: 3 } })],
    }),
  );
  const results = await Promise.allSettled(
    Array.from({ length: 10 }, () =>
      request("http://reviews/", { dispatcher: bounded.dispatcher }).then(({ body }) => body.dump()),
    ),
  );
  expect(sockets).toBe(2);
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(5);
  for (const result of results)
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "OVERFLOW", sent: false });
});

test("an unknown host is asked for once, its calls wait, and then all go", async () => {
  const address = await serve(echo);
  const made = world(meshConfig({}));
  const { promise, resolve } = Promise.withResolvers<"found" | "missing">();
  made.answer = () => promise;
  const calls = [1, 2, 3].map((n) => request(`http://reviews/${n}`, { dispatcher: made.dispatcher }));
  const reason = new Error("impatient");
  const controller = new AbortController();
  const aborted = request("http://reviews/4", { dispatcher: made.dispatcher, signal: controller.signal });
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  made.engine.publish(reviews([address]));
  resolve("found");
  for (const { statusCode, body } of await Promise.all(calls)) {
    expect(statusCode).toBe(200);
    await body.dump();
  }
  expect(made.asked).toEqual(["reviews:80"]);
});

test("a host that the mesh does not know passes as it is, or is blocked by policy; errors stay undici's", async () => {
  const address = await serve(echo);
  const port = address.split(":")[1]!;
  // The machine's own name resolves everywhere, but is not loopback by its spelling.
  const open = world(meshConfig({}));
  const { statusCode, body } = await request(`http://localhost:${port}/x`, { dispatcher: open.dispatcher });
  expect(statusCode).toBe(200);
  await body.dump();
  expect(open.asked).toEqual([]);
  expect(open.ended[0]!.record.cluster!.name).toBe("PassthroughCluster");

  await expect(request("http://no-such-host.invalid/", { dispatcher: open.dispatcher })).rejects.toMatchObject({
    code: expect.stringMatching(/ENOTFOUND|EAI_AGAIN/) as string,
  });
  expect(open.asked).toEqual(["no-such-host.invalid:80"]);

  const closed = world(meshConfig({}), "REGISTRY_ONLY");
  await expect(request("http://example.invalid/", { dispatcher: closed.dispatcher })).rejects.toMatchObject({
    code: "BLOCKED",
  });
  expect(closed.ended[0]!.record.cluster!.name).toBe("BlackHoleCluster");
});

test("nobody can say whether the mesh knows the host: the call fails, and nothing goes out in plaintext", async () => {
  const made = world(meshConfig({}));
  made.answer = () => Promise.reject(new Error("control plane unreachable"));
  await expect(request("http://reviews/", { dispatcher: made.dispatcher })).rejects.toMatchObject({
    code: "NO_CONFIG",
    sent: false,
  });
});
