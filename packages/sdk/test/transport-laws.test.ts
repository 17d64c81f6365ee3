import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Attempt, MeshError } from "@trama/engine";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCall } from "../../../test/kit/call.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import { createClock } from "../src/env/clock.ts";
import { ClusterLimits } from "../src/transport/cluster-limits.ts";
import { UndiciTransport } from "../src/transport/undici.ts";

// The laws of engine/service.ts, for the transport that is not scripted: a server that does whatever a server can do, and callers
// that abort, pause and resume at any time.

let noLeaks: () => Promise<void>;
let server: http.Server;
let http2Server: http2.Http2Server;
const sessions = new Set<http2.ServerHttp2Session>();
const random = seededRandom(Number(process.env["TRAMA_LAW_SEED"] ?? 11));
beforeAll(async () => {
  noLeaks = leakCheck();
  server = http.createServer((incoming, response) => {
    incoming.resume();
    const kind = Math.floor(random() * 8);
    if (kind === 0) incoming.socket.destroy();
    else if (kind === 1) incoming.socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    else if (kind === 2) incoming.socket.end("rubbish");
    else if (kind === 3) setTimeout(() => response.end("late"), random() * 20);
    else if (kind === 4) {
      response.writeHead(200, { trailer: "x-sum", connection: "close" });
      response.write("chunk");
      response.addTrailers({ "x-sum": "1" });
      setImmediate(() => response.end());
    } else if (kind === 5) response.end(Buffer.alloc(random() * 500_000));
    else response.writeHead(kind === 6 ? 503 : 204).end();
  });
  http2Server = http2.createServer();
  http2Server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  http2Server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.resume();
    const kind = Math.floor(random() * 8);
    if (kind === 0 && random() < 0.1) return stream.session!.destroy();
    if (kind <= 1) return stream.close(Math.floor(random() * 12));
    if (kind === 2 && random() < 0.2) stream.session!.goaway();
    if (kind === 3) {
      setTimeout(() => {
        if (stream.destroyed) return;
        stream.respond({ ":status": 200 });
        stream.end("late");
      }, random() * 20);
      return;
    }
    stream.respond({ ":status": kind === 6 ? 503 : kind === 7 ? 204 : 200 }, { waitForTrailers: kind === 4 });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "1" }));
    if (kind === 5) stream.end(Buffer.alloc(random() * 500_000));
    else if (!stream.writableEnded) stream.end("chunk");
    return undefined;
  });
  for (const each of [server, http2Server]) {
    each.listen(0, "127.0.0.1");
    await once(each, "listening");
  }
});
afterAll(async () => {
  for (const session of sessions) session.destroy();
  await new Promise((resolve) => http2Server.close(resolve));
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await noLeaks();
});

test.each([
  ["HTTP/1.1", false],
  ["HTTP/2", true],
] as const)("laws 1, 2, 4 and 5 over 750 requests of %s", async (_protocol, overHttp2) => {
  const clock = createClock();
  const limits = new ClusterLimits();
  const transport = new UndiciTransport({ identity: { current: undefined }, clock, random, limits });
  const address = `127.0.0.1:${((overHttp2 ? http2Server : server).address() as AddressInfo).port}`;
  const config = cluster("c", {
    http2: overHttp2,
    endpoints: [endpoint(address)],
    breaker: { maxConnections: 8, maxPending: 20 },
  });
  const one = async (): Promise<void> => {
    let paused = false;
    let brokenPause = 0;
    let afterPause = 0;
    const sink = new TestSink((event) => {
      if (event === "data" && paused && ++afterPause > 1) brokenPause++;
      if (event === "end" || event === "error" || random() > 0.3) return;
      paused = true;
      afterPause = 0;
      sink.flow!.pause();
      sink.flow!.pause();
      setTimeout(() => {
        paused = false;
        sink.flow!.resume();
        // What that brought may have paused it again.
        if (!paused) sink.flow!.resume();
      }, random() * 10);
    });
    const call = makeCall({ transport, method: random() < 0.5 ? "GET" : "POST" });
    const attempt = new Attempt(call, config, config.endpoints.priorities[0]![0]!.endpoints[0]!, 1);
    const reason = new MeshError("ABORTED", "by the test");
    const aborts = random() < 0.3;
    if (aborts && random() < 0.2) attempt.abort(reason);
    const sentBefore = attempt.sent;
    transport.send(attempt, sink);
    if (aborts)
      setTimeout(() => {
        attempt.abort(reason);
        attempt.abort(new MeshError("ABORTED", "a second time"));
      }, random() * 15);
    await sink.done;
    await new Promise((resolve) => setImmediate(resolve));
    expect(sink.breaches).toEqual([]);
    expect(brokenPause).toBe(0);
    expect(sentBefore).toBe(false);
    if (sink.error?.code === "ABORTED") expect(sink.error).toBe(reason);
    else if (sink.error !== undefined) {
      expect(["RESET", "PROTOCOL_ERROR", "OVERFLOW", "CONNECT_FAILED", "REFUSED"]).toContain(sink.error.code);
      // Truthful: what never left cannot have been sent, and what came back must have been.
      // A peer of HTTP/2 can say that it never looked at what was sent.
      if (overHttp2 && attempt.sent) expect(sink.error.code === "REFUSED" && sink.error.sent).toBe(false);
      else expect(sink.error.sent).toBe(attempt.sent);
    } else expect(attempt.sent).toBe(true);
  };
  for (let round = 0; round < 25; round++) await Promise.all(Array.from({ length: 30 }, one));
  // Nothing leaks, however the requests ended.
  expect(limits.of(config)!.pending).toBe(0);
  expect(limits.of(config)!.connections).toBeLessThanOrEqual(8);
  await transport.close(1_000);
  expect(transport.size).toBe(0);
  expect(limits.size).toBe(0);
  clock.close();
});
