import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { type ConnectionConfig, MeshError } from "@trama/engine";
import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { collectGarbage } from "../../../test/kit/garbage.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import {
  type ClusterOptions,
  cluster,
  endpoint,
  forward,
  listener,
  meshConfig,
  retryPolicy,
  route,
} from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { meshAgents } from "../src/adapters/http-agent.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";

// HTTP calls to clusters of HTTP/2, over real sockets and Node's own HTTP/2 servers.

let noLeaks: () => Promise<void>;
beforeAll(() => {
  noLeaks = leakCheck();
});
afterAll(() => noLeaks());

type OnStream = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

interface Served {
  readonly address: string;
  readonly sessions: Set<http2.ServerHttp2Session>;
  close(): void;
}

async function serve(onStream: OnStream, server = http2.createServer() as http2.Http2Server): Promise<Served> {
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  server.on("stream", onStream);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    close() {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
}

const defaults: ConnectionConfig = {
  idleTimeoutMs: undefined,
  maxDurationMs: undefined,
  maxRequests: undefined,
  maxStreams: undefined,
  keepAlive: undefined,
  tcpKeepAliveMs: undefined,
};

function world(
  address: string,
  options: ClusterOptions = {},
  identity?: Parameters<typeof clientWorld>[1],
): ClientWorld {
  const retry = retryPolicy({ retryOn: ["refused-stream", "reset"], retries: 2, backoffBaseMs: 1, backoffMaxMs: 2 });
  return clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c", { retry }))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], http2: true, ...options })],
    }),
    identity,
  );
}

const url = "http://reviews:9090/one?two=3";

test("a call is a stream: head, body, answer and trailers, and many share one connection", async () => {
  const seen: http2.IncomingHttpHeaders[] = [];
  const server = await serve((stream, headers) => {
    seen.push(headers);
    stream.respond({ ":status": 201, "x-answer": "yes" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "4" }));
    stream.pipe(stream);
  });
  const client = world(server.address);
  try {
    const calls = Array.from({ length: 20 }, async (_, i) => {
      const answer = await request(url, {
        method: "POST",
        body: Readable.from([Buffer.from("bo"), Buffer.from(`dy${i}`)]),
        headers: { "X-Mixed": "Case", connection: "keep-alive", te: "gzip", "transfer-encoding": "chunked" },
        dispatcher: client.dispatcher,
      });
      const text = await answer.body.text();
      return [answer.statusCode, answer.headers["x-answer"], text, answer.trailers];
    });
    expect(await Promise.all(calls)).toEqual(
      Array.from({ length: 20 }, (_, i) => [201, "yes", `body${i}`, { "x-sum": "4" }]),
    );
    expect(server.sessions.size).toBe(1);
    expect(seen[0]).toMatchObject({
      ":method": "POST",
      ":path": "/one?two=3",
      ":authority": "reviews:9090",
      ":scheme": "http",
      "x-mixed": "Case",
    });
    for (const gone of ["connection", "te", "transfer-encoding", "host"]) expect(seen[0]).not.toHaveProperty(gone);
  } finally {
    await client.close();
    server.close();
  }
});

test("what is in memory says its length, and HEAD has no body", async () => {
  const seen: http2.IncomingHttpHeaders[] = [];
  const server = await serve((stream, headers) => {
    seen.push(headers);
    stream.respond({ ":status": 200, "content-length": 7 }, { endStream: headers[":method"] === "HEAD" });
    if (headers[":method"] !== "HEAD") stream.end("answers");
  });
  const client = world(server.address);
  try {
    const put = await request(url, { method: "PUT", body: "héllo", dispatcher: client.dispatcher });
    expect(await put.body.text()).toBe("answers");
    expect(seen[0]!["content-length"]).toBe("6");
    const head = await request(url, { method: "HEAD", dispatcher: client.dispatcher });
    expect([head.headers["content-length"], await head.body.text()]).toEqual(["7", ""]);
    const form = new FormData();
    form.set("a", "b");
    await (await request(url, { method: "POST", body: form as never, dispatcher: client.dispatcher })).body.dump();
    expect(seen[2]!["content-type"]).toMatch(/^multipart\/form-data; boundary=/);
  } finally {
    await client.close();
    server.close();
  }
});

test("mutual TLS by ALPN; a server that does not offer h2 is refused before a byte of the request", async () => {
  const root = makeCertificate("root");
  const [web, reviews] = [testIdentity(root, "shop", "web"), testIdentity(root, "shop", "reviews")];
  const { keyPem: key, chainPem: cert, rootsPem } = reviews.current;
  const tls = { key, cert, ca: [...rootsPem], requestCert: true };
  const peers: unknown[] = [];
  const server = await serve(
    (stream) => {
      peers.push((stream.session!.socket as { authorized?: boolean }).authorized);
      stream.respond({ ":status": 200 });
      stream.end("secured");
    },
    http2.createSecureServer(tls) as unknown as http2.Http2Server,
  );
  const client = world(server.address, { tls: mutualTls(spiffe("shop", "reviews")) }, web);
  const { createServer } = await import("node:tls");
  const old = createServer({ ...tls, ALPNProtocols: ["http/1.1"] }, (socket) => socket.on("error", () => {}));
  old.on("tlsClientError", () => {});
  old.listen(0, "127.0.0.1");
  await once(old, "listening");
  const lost = world(
    `127.0.0.1:${(old.address() as AddressInfo).port}`,
    { tls: mutualTls(spiffe("shop", "reviews")) },
    web,
  );
  try {
    const answer = await request(url, { dispatcher: client.dispatcher });
    expect(await answer.body.text()).toBe("secured");
    expect(peers).toEqual([true]);
    expect(client.ended[0]!.record.mtls).toBe(true);
    const error = await request(url, { dispatcher: lost.dispatcher }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "TLS_FAILED", sent: false });
  } finally {
    await client.close();
    await lost.close();
    server.close();
    old.close();
  }
});

test("a refused stream is repeated, and so is what a GOAWAY says was never looked at; a reset is not, for POST", async () => {
  let calls = 0;
  const server = await serve((stream, headers) => {
    calls++;
    stream.on("error", () => {});
    if (calls === 1) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    if (headers[":method"] === "POST") return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    stream.respond({ ":status": 200 });
    stream.end("done");
    return undefined;
  });
  const client = world(server.address);
  try {
    const answer = await request(url, { dispatcher: client.dispatcher });
    expect(await answer.body.text()).toBe("done");
    expect(calls).toBe(2);
    const error = await request(url, { method: "POST", body: "x", dispatcher: client.dispatcher }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "RESET", sent: true });
    expect(calls).toBe(3);
  } finally {
    await client.close();
    server.close();
  }
});

test("the caller's abort resets the stream and spares the connection; a stopped reader holds the server back", async () => {
  const codes: number[] = [];
  let written = 0;
  const server = await serve((stream, headers) => {
    stream.on("error", () => {});
    stream.on("close", () => codes.push(stream.rstCode));
    stream.respond({ ":status": 200 });
    if (headers[":path"] === "/small") return stream.end("ok");
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (!stream.destroyed && written < 500) {
        written++;
        if (!stream.write(chunk)) return void stream.once("drain", more);
      }
      if (!stream.destroyed) stream.end();
    };
    more();
    return undefined;
  });
  const client = world(server.address);
  try {
    const controller = new AbortController();
    const slow = await request(url, { dispatcher: client.dispatcher, signal: controller.signal });
    slow.body.on("error", () => {});
    slow.body.pause();
    const small = await request("http://reviews:9090/small", { dispatcher: client.dispatcher });
    expect(await small.body.text()).toBe("ok");
    expect(written).toBeLessThan(100);
    controller.abort();
    const again = await request("http://reviews:9090/small", { dispatcher: client.dispatcher });
    expect(await again.body.text()).toBe("ok");
    expect(codes).toContain(http2.constants.NGHTTP2_CANCEL);
    expect(server.sessions.size).toBe(1);
  } finally {
    await client.close();
    server.close();
  }
});

test("maxConcurrentStreams and maxRequestsPerConnection bound a connection", async () => {
  const held: (() => void)[] = [];
  const server = await serve((stream) => {
    const answer = (): void => {
      stream.respond({ ":status": 200 });
      stream.end();
    };
    if (held.length < 4) held.push(answer);
    else answer();
  });
  const client = world(server.address, { connections: { ...defaults, maxStreams: 2 } });
  try {
    const calls = Array.from({ length: 4 }, () => request(url, { dispatcher: client.dispatcher }));
    await until(() => held.length === 4);
    expect(server.sessions.size).toBe(2);
    for (const answer of held) answer();
    for (const call of calls) await (await call).body.dump();
  } finally {
    await client.close();
    server.close();
  }
  const ports = new Set<number | undefined>();
  const second = await serve((stream) => {
    ports.add(stream.session!.socket.remotePort);
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const once3 = world(second.address, { connections: { ...defaults, maxRequests: 3 } });
  try {
    for (let i = 0; i < 7; i++) await (await request(url, { dispatcher: once3.dispatcher })).body.dump();
    expect(ports.size).toBe(3);
  } finally {
    await once3.close();
    second.close();
  }
});

test("a connection that is silent when asked by pings is lost; an idle one leaves", async () => {
  const server = await serve((stream) => {
    stream.respond({ ":status": 200 });
    if (stream.session!.socket.remotePort! > 0) stream.end("ok");
  });
  const idle = world(server.address, { connections: { ...defaults, idleTimeoutMs: 30 } });
  try {
    await (await request(url, { dispatcher: idle.dispatcher })).body.dump();
    await until(() => server.sessions.size === 0);
  } finally {
    await idle.close();
    server.close();
  }
  // A peer that takes everything and says nothing, not even to a ping.
  const { createServer } = await import("node:net");
  const sockets = new Set<{ destroy(): void }>();
  const mute = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    // Its settings, and nothing more.
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    socket.resume();
  });
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  const lost = world(`127.0.0.1:${(mute.address() as AddressInfo).port}`, {
    connections: { ...defaults, keepAlive: { intervalMs: 20, timeoutMs: 20 } },
  });
  try {
    const error = await request(url, { method: "POST", dispatcher: lost.dispatcher }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(MeshError);
    expect((error as Error).message).toContain("no answer to a ping within 20 ms");
  } finally {
    await lost.close();
    for (const socket of sockets) socket.destroy();
    mute.close();
  }
});

test("a server that has too many pings gets half as many on the next connection (gRFC A8)", async () => {
  const pauses: number[] = [];
  const strict = http2.createServer().on("session", (session) => {
    const startMs = performance.now();
    session.once("ping", () => {
      pauses.push(performance.now() - startMs);
      session.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from("too_many_pings"));
    });
  });
  const server = await serve((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("ok");
  }, strict);
  const client = world(server.address, {
    connections: { ...defaults, keepAlive: { intervalMs: 40, timeoutMs: 5_000 } },
  });
  try {
    for (const [round, leastMs] of [40, 80, 160].entries()) {
      await (await request(url, { dispatcher: client.dispatcher })).body.dump();
      await until(() => pauses.length === round + 1);
      // Timers are late on a busy machine, and never early.
      expect(pauses[round]).toBeGreaterThanOrEqual(leastMs - 15);
    }
  } finally {
    await client.close();
    server.close();
  }
});

test("trailers of a request of node:http go behind its body", async () => {
  const seen: unknown[] = [];
  const server = await serve((stream) => {
    stream.on("trailers", (fields: http2.IncomingHttpHeaders) => seen.push(fields["x-sum"]));
    stream.resume();
    stream.on("end", () => {
      stream.respond({ ":status": 200 });
      stream.end("ok");
    });
  });
  const client = world(server.address);
  const pair = meshAgents(client.dispatcher, "ALLOW_ANY");
  try {
    const asked = http.request(url, { method: "POST", agent: pair.http });
    asked.write("body");
    asked.addTrailers({ "x-sum": "4" });
    asked.end();
    const [answer] = (await once(asked, "response")) as [http.IncomingMessage];
    answer.resume();
    await once(answer, "end");
    expect(seen).toEqual(["4"]);
  } finally {
    pair.http.destroy();
    await client.close();
    server.close();
  }
});

test("undici's own time-outs hold over HTTP/2 too", async () => {
  const server = await serve((stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] === "/half") {
      stream.respond({ ":status": 200 });
      stream.write("half");
    }
  });
  const client = world(server.address);
  try {
    const silent = await request("http://reviews:9090/none", {
      method: "POST",
      headersTimeout: 30,
      dispatcher: client.dispatcher,
    }).catch((thrown: unknown) => thrown);
    expect(silent).toMatchObject({
      code: "TIMEOUT",
      message: expect.stringContaining("no answer within 30 ms") as string,
    });
    const half = await request("http://reviews:9090/half", { bodyTimeout: 30, dispatcher: client.dispatcher });
    await expect(half.body.text()).rejects.toMatchObject({
      code: "TIMEOUT",
      message: expect.stringContaining("nothing more of the answer") as string,
    });
  } finally {
    await client.close();
    server.close();
  }
});

test("interim answers come as undici gives them", async () => {
  const server = await serve((stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>" });
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  const client = world(server.address);
  const hints: unknown[] = [];
  try {
    const answer = await request(url, {
      dispatcher: client.dispatcher,
      onInfo: ({ statusCode, headers }: { statusCode: number; headers: object }) => hints.push([statusCode, headers]),
    } as never);
    expect(await answer.body.text()).toBe("ok");
    expect(hints).toEqual([[103, { link: "</a.css>" }]]);
  } finally {
    await client.close();
    server.close();
  }
});

test("a stream that has closed keeps nothing of its call, for Node keeps it for some time", async () => {
  const server = await serve((stream) => {
    stream.respond();
    stream.end("here");
  });
  const client = world(server.address);
  const streams: http2.ClientHttp2Stream[] = [];
  const hold = (message: unknown): void => void streams.push((message as { stream: http2.ClientHttp2Stream }).stream);
  subscribe("http2.client.stream.created", hold);
  try {
    const handlers: WeakRef<object>[] = [];
    const call = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const handler = {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd: () => resolve(),
          onResponseError: (_controller: unknown, error: Error) => reject(error),
        };
        handlers.push(new WeakRef(handler));
        client.dispatcher.dispatch({ origin: "http://reviews:9090", path: "/one", method: "GET" }, handler);
      });
    for (let i = 0; i < 5; i++) await call();
    await until(() => streams.length === 5 && streams.every((stream) => stream.destroyed));
    // What this world itself keeps of a call.
    client.ended.length = 0;
    await until(() => {
      collectGarbage();
      return handlers.every((handler) => handler.deref() === undefined);
    });
    expect(streams).toHaveLength(5);
  } finally {
    unsubscribe("http2.client.stream.created", hold);
    await client.close();
    server.close();
  }
});
