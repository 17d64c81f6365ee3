import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { ServerHttp2Session } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import type { HealthAnswer, HealthQuestion } from "@trama/engine";
import { afterAll, beforeAll, expect, test } from "vitest";

import { emptySnapshot } from "../../../test/kit/call.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, healthCheck } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { createClock } from "../src/env/clock.ts";
import { EndpointProber } from "../src/transport/health-prober.ts";
import { UndiciTransport } from "../src/transport/undici.ts";

let noLeaks: () => Promise<void>;
let http: Server;
let grpc: Server;
let seen: Record<string, unknown>;
let connections = 0;
const sessions = new Set<ServerHttp2Session>();
const clock = createClock();
let transport: UndiciTransport;
let prober: EndpointProber;

beforeAll(async () => {
  noLeaks = leakCheck();
  http = createServer((request, response) => {
    seen = {
      method: request.method,
      host: request.headers.host,
      agent: request.headers["user-agent"],
      ...request.headers,
    };
    response.writeHead(Number(request.url!.slice(1))).end("body");
  }).on("connection", () => connections++);
  grpc = createHttp2Server()
    .on("session", (session) => sessions.add(session))
    .on("stream", (stream, headers) => {
      const parts: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => parts.push(chunk));
      stream.on("end", () => {
        const service = Buffer.concat(parts).subarray(7).toString();
        seen = { path: headers[":path"], authority: headers[":authority"], service };
        if (service === "unknown") {
          stream.respond(
            { ":status": 200, "content-type": "application/grpc", "grpc-status": "5" },
            { endStream: true },
          );
          return;
        }
        stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
        stream.end(Buffer.from([0, 0, 0, 0, 2, 8, service === "down" ? 2 : 1]));
      });
    });
  for (const server of [http, grpc]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  transport = new UndiciTransport({ identity: { current: undefined }, clock, random: seededRandom(1) });
  prober = new EndpointProber({ transport: () => transport, snapshot: () => emptySnapshot, now: () => clock.now() });
});

afterAll(async () => {
  await transport.close(100);
  clock.close();
  for (const session of sessions) session.destroy();
  await Promise.all([http, grpc].map((server) => new Promise((resolve) => server.close(resolve))));
  await noLeaks();
});

function ask(question: HealthQuestion, port: number, breaker = {}): Promise<HealthAnswer> {
  const target = endpoint(`127.0.0.1:${port}`);
  const config = cluster("c", { endpoints: [target], healthCheck: healthCheck({ ask: question }), breaker });
  return new Promise((resolve) => prober.ask(config, target, resolve));
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const over = (status: number, more: Partial<Extract<HealthQuestion, { kind: "http" }>> = {}): HealthQuestion => ({
  kind: "http",
  authority: "",
  method: "GET",
  path: `/${status}`,
  headers: [["x-check", "1"]],
  expected: [],
  retriable: [],
  http2: false,
  ...more,
});

test("HTTP: 200 is well, or what is expected; another status is bad at once unless it is retriable", async () => {
  const port = portOf(http);
  expect(await ask(over(200), port)).toBe("well");
  expect(seen).toMatchObject({ method: "GET", host: "c", agent: "trama-health-check", "x-check": "1" });
  expect(await ask(over(204), port)).toBe("bad");
  expect(await ask(over(204, { expected: [{ from: 200, to: 299 }] }), port)).toBe("well");
  expect(await ask(over(503, { retriable: [{ from: 503, to: 503 }] }), port)).toBe("failed");
  expect(await ask(over(200, { authority: "web", method: "HEAD" }), port)).toBe("well");
  expect(seen).toMatchObject({ method: "HEAD", host: "web" });
  expect(connections).toBe(1);
});

test("gRPC: SERVING is well, any other word or status is bad", async () => {
  const of = (service: string): Promise<HealthAnswer> => ask({ kind: "grpc", service, authority: "a" }, portOf(grpc));
  expect(await of("up")).toBe("well");
  expect(seen).toEqual({ path: "/grpc.health.v1.Health/Check", authority: "a", service: "up" });
  expect(await of("")).toBe("well");
  expect(await of("down")).toBe("bad");
  expect(await of("unknown")).toBe("bad");
});

test("TCP: a connection is enough; nobody there has failed, whatever was asked", async () => {
  expect(await ask({ kind: "tcp" }, portOf(http))).toBe("well");
  const gone = createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const port = portOf(gone);
  await new Promise((resolve) => gone.close(resolve));
  expect(await ask({ kind: "tcp" }, port)).toBe("failed");
  expect(await ask(over(200), port)).toBe("failed");
  expect(await ask({ kind: "grpc", service: "", authority: "" }, port)).toBe("failed");
});
