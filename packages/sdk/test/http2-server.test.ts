import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import Fastify from "fastify";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { settled, until } from "../../../test/kit/until.ts";
import type { PipeSocket } from "../src/adapters/pipe-socket.ts";
import { serverFactory } from "../src/adapters/fastify.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { clientWorld, mutualTls } from "./client-world.ts";
import { allow, type ServerWorld, serverWorld } from "./server-world.ts";

// HTTP/2 at an `http.Server` of the mesh: the same port, the same handlers, the same authorization.

const root = makeCertificate("root");
const webId = spiffe("shop", "web");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function server(handler: http.RequestListener | http.Server): Promise<ServerWorld> {
  const made = await serverWorld(handler instanceof http.Server ? handler : http.createServer(handler), {
    identity: testIdentity(root, "shop", "reviews"),
  });
  closers.push(() => made.close());
  return made;
}

function session({ address }: { address: string }): http2.ClientHttp2Session {
  const made = http2.connect(`http://${address}`);
  made.on("error", () => {});
  closers.push(() => made.destroy());
  return made;
}

interface Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly text: string;
  readonly trailers: http2.IncomingHttpHeaders | undefined;
  readonly interim: number[];
  readonly code: number;
}

async function ask(
  client: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string | ((stream: http2.ClientHttp2Stream) => void),
): Promise<Answer> {
  const stream = client.request(headers, { endStream: body === undefined });
  let answer: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders | undefined;
  let text = "";
  const interim: number[] = [];
  stream.on("response", (fields) => (answer = fields));
  stream.on("headers", (fields) => interim.push(Number(fields[":status"])));
  stream.on("trailers", (fields) => (trailers = fields));
  stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  stream.on("error", () => {});
  if (typeof body === "string") stream.end(body);
  else body?.(stream);
  await new Promise((resolve) => stream.on("close", resolve));
  return { status: Number(answer[":status"] ?? 0), headers: answer, text, trailers, interim, code: stream.rstCode };
}

const echo: http.RequestListener = (incoming, response) => {
  let body = "";
  incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
  incoming.on("end", () => {
    response.setHeader("x-one", ["a", "b"]);
    response.end(
      JSON.stringify({
        method: incoming.method,
        url: incoming.url,
        host: incoming.headers.host,
        cookie: incoming.headers.cookie,
        trailers: incoming.trailers,
        peer: incoming.mesh?.peer.spiffeId ?? null,
        encrypted: (incoming.socket as { encrypted?: boolean }).encrypted === true,
        from: typeof incoming.socket.remoteAddress,
        body,
      }),
    );
  });
};

test("HTTP/2 in plaintext where policy permits it: heads, bodies, cookies and trailers arrive as HTTP/1.1's do", async () => {
  const world = await server(echo);
  world.publish("PERMISSIVE");
  const client = session(world);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      ask(
        client,
        {
          ":method": i % 2 === 0 ? "POST" : "GET",
          ":path": `/p${i}?q`,
          ":authority": "reviews:80",
          cookie: ["a=1", "b=2"],
        },
        `body${i}`,
      ),
    ),
  );
  for (const [i, { status, headers, text }] of answers.entries()) {
    expect(status).toBe(200);
    expect(headers["x-one"]).toBe("a, b");
    expect(headers["connection"]).toBeUndefined();
    expect(JSON.parse(text)).toMatchObject({
      url: `/p${i}?q`,
      host: "reviews:80",
      cookie: "a=1; b=2",
      body: `body${i}`,
    });
  }
  const trailed = await ask(client, { ":method": "POST", ":path": "/", ":authority": "r" }, (stream) => {
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "4" }));
    stream.end("body");
  });
  expect(trailed.status).toBe(200);
  expect(world.guard.listener.connections.size).toBe(1);
  // The same port still takes HTTP/1.1.
  const old = await request(`http://${world.address}/old`, { headers: { connection: "close" } });
  expect(await old.body.json()).toMatchObject({ url: "/old" });
});

test("a mesh client over mutual TLS and HTTP/2: peer, authorization by path, telemetry", async () => {
  const world = await server(echo);
  world.publish("STRICT", [allow(webId, "/open")]);
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [
        cluster("c", {
          http2: true,
          endpoints: [endpoint(world.address)],
          tls: mutualTls(spiffe("shop", "reviews")),
        }),
      ],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => client.close());
  const open = await request("http://reviews:9090/open", { dispatcher: client.dispatcher });
  expect(await open.body.json()).toMatchObject({ peer: webId, encrypted: true, from: "string" });
  const shut = await request("http://reviews:9090/shut", { dispatcher: client.dispatcher });
  expect(shut.statusCode).toBe(403);
  await shut.body.dump();
  await until(() => world.ended.length === 2);
  expect(world.ended.map(({ record }) => [record.status, record.mtls, record.peerPrincipal])).toEqual([
    [200, true, webId],
    [403, true, webId],
  ]);
  // Plaintext HTTP/2 to STRICT is cut before a byte of it is read.
  const refused = session(world);
  await once(refused, "close");
});

test("interim answers, Expect, HEAD, trailers of the answer", async () => {
  const made = http.createServer((incoming, response) => {
    response.writeEarlyHints({ link: "</a.css>; rel=preload" });
    if (incoming.method === "HEAD") {
      response.setHeader("content-length", 7);
      return response.end();
    }
    response.writeHead(200, { trailer: "x-sum" });
    response.write("half ");
    response.addTrailers({ "x-sum": "9" });
    return response.end("and half");
  });
  made.on("checkContinue", (incoming: http.IncomingMessage, response: http.ServerResponse) => {
    response.writeContinue();
    incoming.pipe(response);
  });
  const world = await server(made);
  world.publish("DISABLE");
  const client = session(world);
  const got = await ask(client, { ":path": "/", ":authority": "r" });
  expect([got.interim, got.text, got.trailers]).toMatchObject([[103], "half and half", { "x-sum": "9" }]);
  const head = await ask(client, { ":method": "HEAD", ":path": "/", ":authority": "r" });
  expect([head.status, head.headers["content-length"], head.text]).toEqual([200, "7", ""]);
  const expects = await ask(
    client,
    { ":method": "PUT", ":path": "/", ":authority": "r", expect: "100-continue" },
    (stream) => stream.on("continue", () => stream.end("later")),
  );
  expect(expects.text).toBe("later");
});

test("what HTTP/1.1 could not say is refused, and no other stream suffers", async () => {
  let calls = 0;
  const world = await server((_incoming, response) => {
    calls++;
    response.end("ok");
  });
  world.publish("DISABLE");
  const client = session(world);
  const held = ask(client, { ":path": "/", ":authority": "reviews" });
  const differ = await ask(client, { ":path": "/", ":authority": "reviews", host: "ratings" });
  expect([differ.status, differ.text]).toEqual([400, "host and :authority differ\n"]);
  const tunnel = await ask(client, { ":method": "CONNECT", ":authority": "reviews:80" });
  expect(tunnel.status).toBe(501);
  const fragment = await ask(client, { ":path": "/a#b", ":authority": "reviews" });
  expect(fragment.status).toBe(400);
  // By the protocol itself already.
  const spaced = await ask(client, { ":path": "/a b", ":authority": "reviews" });
  expect([spaced.status, spaced.code]).toEqual([0, http2.constants.NGHTTP2_PROTOCOL_ERROR]);
  expect((await held).text).toBe("ok");
  expect(calls).toBe(1);
  // CONNECT over HTTP/1.1 is told so as well.
  const socket = net.connect(world.port, "127.0.0.1");
  socket.write("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
  const [reply] = (await once(socket, "data")) as [Buffer];
  expect(reply.toString()).toContain("501 Not Implemented");
  socket.destroy();
});

test("no body can be read as a second request, whatever it looks like and whatever length it claims", async () => {
  const seen: string[] = [];
  const world = await server((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url}`);
    incoming.resume();
    incoming.on("end", () => response.end("ok"));
  });
  world.publish("DISABLE");
  const smuggled = "GET /smuggled HTTP/1.1\r\nhost: r\r\n\r\n";
  for (const method of ["GET", "DELETE", "POST", "OPTIONS"]) {
    const head = { ":method": method, ":path": "/", ":authority": "r" };
    expect((await ask(session(world), head, smuggled)).status).toBe(200);
    // A length that is not the body's is refused by the protocol.
    await ask(session(world), { ...head, "content-length": 3 }, `abc${smuggled}`);
    await ask(session(world), { ...head, "content-length": 0 }, smuggled);
  }
  expect(seen.filter((line) => line.includes("smuggled"))).toEqual([]);
});

test("requests without a body share a way into the handler, one after the other; a body has one to itself, and none outlives its peer", async () => {
  const ways = new Set<net.Socket>();
  const made = await server((incoming, response) => {
    ways.add(incoming.socket);
    incoming.resume();
    setImmediate(() => response.end("a"));
  });
  made.publish("PERMISSIVE");
  const client = session(made);
  const listeners = new Set<string>();
  for (let i = 0; i < 5; i++) {
    expect((await ask(client, { ":path": `/${i}` })).text).toBe("a");
    await new Promise((resolve) => setImmediate(resolve));
    const { other } = [...ways][0] as unknown as PipeSocket;
    const counts = (pipe: PipeSocket): string =>
      pipe
        .eventNames()
        .map((name) => `${String(name)} ${pipe.listenerCount(name)}`)
        .join();
    if (i > 0) listeners.add(counts(other) + counts(other.other));
  }
  expect(ways.size).toBe(1);
  expect(listeners.size).toBe(1);
  await Promise.all(Array.from({ length: 4 }, () => ask(client, { ":path": "/" })));
  expect(ways.size).toBe(4);
  for (let i = 0; i < 3; i++) await ask(client, { ":path": "/", ":method": "POST" }, "b");
  expect(ways.size).toBe(7);
  const other = session(made);
  await ask(other, { ":path": "/" });
  expect(ways.size).toBe(8);
  client.destroy();
  other.destroy();
  await until(() => [...ways].every(({ destroyed }) => destroyed));
});

test("fields of an answer that HTTP/2 does not have are left out; what neither takes ends one stream", async () => {
  const world = await server((incoming, response) => {
    response.setHeader("te", "gzip");
    response.setHeader("http2-settings", "AAA");
    response.setHeader("keep-alive", "timeout=5");
    if (incoming.url === "/trailers") {
      response.writeHead(200, { trailer: "te" });
      response.write("x");
      response.addTrailers({ te: "gzip", "x-sum": "1", connection: "close" });
    }
    response.end();
  });
  world.publish("DISABLE");
  const client = session(world);
  const plain = await ask(client, { ":path": "/", ":authority": "r" });
  expect([
    plain.status,
    Object.keys(plain.headers).filter((name) => name.startsWith("te") || name.startsWith("k")),
  ]).toEqual([200, []]);
  const trailed = await ask(client, { ":path": "/trailers", ":authority": "r" });
  expect([trailed.status, trailed.trailers?.["x-sum"]]).toEqual([200, "1"]);
});

test("heads that are too large or have too many fields never reach a handler", async () => {
  let calls = 0;
  const world = await server((_incoming, response) => {
    calls++;
    response.end();
  });
  world.publish("DISABLE");
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`x-${i}`, "1"]));
  expect((await ask(session(world), { ":path": "/", ":authority": "r", ...many })).status).toBeOneOf([0, 431]);
  const large = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, "z".repeat(4_000)]));
  expect((await ask(session(world), { ":path": "/", ":authority": "r", ...large })).status).toBeOneOf([0, 431]);
  expect(calls).toBe(0);
});

test("a peer that resets its stream is noticed, and one that drops the connection", async () => {
  const begun: (() => void)[] = [];
  const world = await server((incoming) => {
    incoming.resume();
    begun.shift()?.();
  });
  world.publish("DISABLE");
  const client = session(world);
  for (const how of ["reset", "drop"] as const) {
    const arrived = new Promise<void>((resolve) => begun.push(resolve));
    const stream = client.request({ ":path": "/", ":authority": "r" });
    stream.on("error", () => {});
    await arrived;
    if (how === "reset") stream.close(http2.constants.NGHTTP2_CANCEL);
    else client.destroy();
    await until(() => world.engine.active === 0);
  }
  expect(world.ended.map(({ record }) => record.flag)).toEqual(["DC", "DC"]);
});

test("a slow reader holds the handler back, and a slow handler its peer", async () => {
  let written = 0;
  let read = 0;
  const world = await server((incoming, response) => {
    if (incoming.method === "POST") {
      incoming.once("data", (chunk: Buffer) => {
        read += chunk.length;
        incoming.pause();
      });
      return;
    }
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (!response.destroyed && written < 500) {
        written++;
        if (!response.write(chunk)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  });
  world.publish("DISABLE");
  const client = session(world);
  const stream = client.request({ ":path": "/", ":authority": "r" });
  stream.on("error", () => {});
  stream.pause();
  const upload = client.request({ ":method": "POST", ":path": "/", ":authority": "r" });
  upload.on("error", () => {});
  let sent = 0;
  const push = (): void => {
    while (sent < 500 && upload.write(Buffer.alloc(64 * 1024))) sent++;
    if (sent < 500) upload.once("drain", push);
  };
  push();
  await until(() => written > 0 && read > 0);
  await settled(() => written + sent);
  expect(written).toBeLessThan(100);
  expect(sent).toBeLessThan(100);
});

test("drain: GOAWAY, the streams under way end, nothing new comes in", async () => {
  const held: http.ServerResponse[] = [];
  const world = await server((_incoming, response) => void held.push(response));
  world.publish("DISABLE");
  const client = session(world);
  const under = ask(client, { ":path": "/", ":authority": "r" });
  await until(() => held.length === 1);
  let said = false;
  client.on("goaway", () => (said = true));
  const stopped = world.guard.stop(5_000, 20);
  await until(() => said);
  held[0]!.end("last");
  expect((await under).text).toBe("last");
  await stopped;
});

test("a flood of resets closes the connection", async () => {
  const world = await server((_incoming, response) => response.end());
  world.publish("DISABLE");
  const client = session(world);
  await once(client, "connect");
  let closed = false;
  client.on("close", () => (closed = true));
  for (let round = 0; round < 40 && !closed; round++) {
    for (let i = 0; i < 100 && !client.destroyed && !client.closed; i++) {
      const stream = client.request({ ":path": "/", ":authority": "r" });
      stream.on("error", () => {});
      stream.close(http2.constants.NGHTTP2_CANCEL);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => closed);
  expect(world.engine.active).toBeLessThan(1_100);
});

test("Fastify serves it too", async () => {
  const mesh = { protect: <S>(given: S): S => given } as unknown as Mesh;
  const app = Fastify({ serverFactory: serverFactory(mesh) });
  app.post("/sum", (incoming) => ({ sum: (incoming.body as number[]).reduce((a, b) => a + b) }));
  await app.ready();
  const world = await server(app.server);
  world.publish("DISABLE");
  const answer = await ask(
    session(world),
    { ":method": "POST", ":path": "/sum", ":authority": "r", "content-type": "application/json" },
    "[1,2,3]",
  );
  expect(JSON.parse(answer.text)).toEqual({ sum: 6 });
});
