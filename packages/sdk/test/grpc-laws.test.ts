import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Attempt, MeshError } from "@trama/engine";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCall } from "../../../test/kit/call.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import { OutboundMessages } from "../src/adapters/grpc-messages.ts";
import { createClock } from "../src/env/clock.ts";
import { ClusterLimits } from "../src/transport/cluster-limits.ts";
import { H2Transport } from "../src/transport/h2.ts";

// The laws of engine/service.ts, for the transport of gRPC: a server that does whatever an HTTP/2 server can do, and callers that abort,
// pause and resume at any time.

let noLeaks: () => Promise<void>;
let server: http2.Http2Server;
const sessions = new Set<http2.ServerHttp2Session>();
const random = seededRandom(Number(process.env["TRAMA_LAW_SEED"] ?? 11));
const head = { ":status": 200, "content-type": "application/grpc" };

beforeAll(async () => {
  noLeaks = leakCheck();
  server = http2.createServer({ settings: { maxConcurrentStreams: 20 } });
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.resume();
    const kind = Math.floor(random() * 40);
    if (kind === 0) stream.session!.socket.destroy();
    else if (kind === 1) {
      stream.session!.close();
      stream.respond({ ...head, "grpc-status": "0" }, { endStream: true });
    } else if (kind < 6) stream.close(1 + Math.floor(random() * 12));
    else if (kind < 10) stream.respond({ ...head, "grpc-status": "14" }, { endStream: true });
    else if (kind < 14) setTimeout(() => stream.destroyed || stream.respond(head, { endStream: true }), random() * 20);
    else if (kind < 18) {
      stream.respond(head);
      stream.write("part");
      setImmediate(() => stream.destroy(new Error("boom")));
    } else {
      stream.respond(head, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(Buffer.alloc(random() * 300_000));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterAll(async () => {
  for (const session of sessions) session.destroy();
  await new Promise((resolve) => server.close(resolve));
  await noLeaks();
});

test("laws 1, 2, 4 and 5 over 1,500 streams", { timeout: 30_000 }, async () => {
  const clock = createClock();
  const limits = new ClusterLimits();
  const transport = new H2Transport({ identity: { current: undefined }, clock, random, limits });
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const config = cluster("c", { endpoints: [endpoint(address)], breaker: { maxConnections: 2, maxPending: 20 } });
  const one = async (): Promise<void> => {
    let paused = false;
    let afterPause = 0;
    let brokenPause = 0;
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
        if (!paused) sink.flow!.resume();
      }, random() * 10);
    });
    const body = new OutboundMessages("reviews:9080", "reviews:9080", undefined, undefined);
    const call = makeCall({ transport, protocol: "grpc", method: "POST", body });
    const attempt = new Attempt(call, config, config.endpoints.priorities[0]![0]!.endpoints[0]!, 1);
    const reason = new MeshError("ABORTED", "by the test");
    const aborts = random() < 0.3;
    if (aborts && random() < 0.2) attempt.abort(reason);
    transport.send(attempt, sink);
    body.add(Buffer.alloc(random() * 50_000), 0, undefined);
    if (random() < 0.8) body.halfClose();
    if (aborts)
      setTimeout(() => {
        attempt.abort(reason);
        attempt.abort(new MeshError("ABORTED", "a second time"));
      }, random() * 15);
    await sink.done;
    await new Promise((resolve) => setImmediate(resolve));
    expect(sink.breaches).toEqual([]);
    expect(brokenPause).toBe(0);
    if (sink.error?.code === "ABORTED") expect(sink.error).toBe(reason);
    else if (sink.error !== undefined)
      expect(["RESET", "REFUSED", "PROTOCOL_ERROR", "OVERFLOW", "CONNECT_FAILED"]).toContain(sink.error.code);
    else expect(attempt.sent).toBe(true);
  };
  for (let round = 0; round < 50; round++) await Promise.all(Array.from({ length: 30 }, one));
  // Nothing leaks, however the requests ended.
  expect(limits.of(config)!.pending).toBe(0);
  expect(limits.of(config)!.connections).toBeLessThanOrEqual(2);
  await transport.close(1_000);
  expect(transport.size).toBe(0);
  expect(limits.size).toBe(0);
  clock.close();
});
