import { once } from "node:events";
import { createServer } from "node:http";
import type { Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Attempt, MeshError } from "@trama/engine";
import { afterEach, beforeEach, expect, test } from "vitest";

import { makeCall } from "../../../test/kit/call.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import { createClock } from "../src/env/clock.ts";
import { HttpBody } from "../src/transport/body.ts";
import { ClusterLimits } from "../src/transport/cluster-limits.ts";
import { UndiciTransport } from "../src/transport/undici.ts";

let noLeaks: () => Promise<void>;
let servers: Server[];
let held: ServerResponse[];
let sockets: Set<Socket>;
let limits: ClusterLimits;
let transport: UndiciTransport;
let clock: ReturnType<typeof createClock>;

beforeEach(async () => {
  noLeaks = leakCheck();
  held = [];
  sockets = new Set();
  servers = [0, 1].map(() =>
    createServer((request, response) => {
      if (request.url === "/reset") request.socket.destroy();
      else held.push(response);
    })
      .on("connection", (socket: Socket) => sockets.add(socket.on("close", () => sockets.delete(socket))))
      .on("upgrade", (_request, socket) =>
        socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n"),
      )
      .listen(0, "127.0.0.1"),
  );
  await Promise.all(servers.map((each) => once(each, "listening")));
  clock = createClock();
  limits = new ClusterLimits();
  transport = new UndiciTransport({ identity: { current: undefined }, clock, random: seededRandom(1), limits });
});

afterEach(async () => {
  await transport.close(1_000);
  clock.close();
  for (const server of servers) {
    server.closeAllConnections();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
  await noLeaks();
});

function config(maxConnections: number, maxPending: number, name = "c") {
  const list = servers.map((each) => endpoint(`127.0.0.1:${(each.address() as AddressInfo).port}`));
  return cluster(name, { endpoints: list, breaker: { maxConnections, maxPending } });
}

function send(to: number, of = config(2, 1), path = "/", body?: HttpBody) {
  const call = makeCall({ transport, path, ...(body === undefined ? {} : { body }) });
  const attempt = new Attempt(call, of, of.endpoints.priorities[0]![0]!.endpoints[to]!, 1);
  const sink = new TestSink();
  transport.send(attempt, sink);
  return { attempt, sink };
}

class Upgrade extends HttpBody {
  readonly value = null;
  readonly authority = "upgrade.test";
  readonly headersTimeout = undefined;
  readonly bodyTimeout = undefined;
  readonly upgrade = "test";
  readonly trailers = undefined;
  readonly #done: (socket: Duplex) => void;

  constructor(done: (socket: Duplex) => void) {
    super();
    this.#done = done;
  }

  informed(): void {}
  failed(): void {}
  switched(_status: number, _headers: Record<string, string | string[]>, socket: Duplex): void {
    this.#done(socket);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

test("connections and waiting requests are counted over all endpoints of the cluster", async () => {
  const of = config(2, 1);
  send(0, of);
  send(1, of);
  await until(() => held.length === 2);
  const waiting = send(1, of);
  const refused = send(0, of);
  expect(refused.sink.error).toMatchObject({ code: "OVERFLOW", sent: false });
  expect(limits.of(of)).toMatchObject({ connections: 2, pending: 1 });
  for (const response of held.splice(0)) response.end();
  await until(() => held.length === 1);
  held.pop()!.end();
  await until(() => waiting.sink.events.includes("end"));
  expect(limits.of(of)).toMatchObject({ pending: 0 });
});

test("an endpoint may always have its first connection, and one that is idle elsewhere makes room", async () => {
  const of = config(1, 0);
  const first = send(0, of);
  const second = send(1, of);
  await until(() => held.length === 2);
  expect([first.sink.error, second.sink.error]).toEqual([undefined, undefined]);
  expect(limits.of(of)!.connections).toBe(2);
  expect(send(1, of).sink.error?.code).toBe("OVERFLOW");
  held[0]!.end();
  await until(() => first.sink.events.includes("end"));
  const third = send(1, of);
  await until(() => held.length === 3);
  expect(third.sink.error).toBeUndefined();
  expect(limits.of(of)!.connections).toBe(2);
  for (const response of held) response.end();
});

test("another cluster with the same endpoints has counts of its own, and new limits hold at once for the old counts", async () => {
  const of = config(1, 0);
  send(0, of);
  await until(() => held.length === 1);
  const other = send(0, config(1, 0, "other"));
  await until(() => held.length === 2);
  expect(other.sink.error).toBeUndefined();
  expect(send(0, of).sink.error?.code).toBe("OVERFLOW");
  const more = send(0, config(2, 0));
  await until(() => held.length === 3);
  expect(more.sink.error).toBeUndefined();
  for (const response of held) response.end();
});

test("an abort while waiting, a reset and an upgrade give back what they held, once", async () => {
  const of = config(1, 2);
  const first = send(0, of);
  await until(() => held.length === 1);
  const waiting = send(0, of);
  waiting.attempt.abort(new MeshError("ABORTED", "enough"));
  waiting.attempt.abort(new MeshError("ABORTED", "enough"));
  expect(limits.of(of)).toMatchObject({ connections: 1, pending: 0 });
  held.pop()!.end();
  await until(() => first.sink.events.includes("end"));
  for (let i = 0; i < 3; i++) {
    const reset = send(0, of, "/reset");
    await until(() => reset.sink.error !== undefined);
  }
  expect(limits.of(of)).toMatchObject({ connections: 1, pending: 0 });
  const upgrade = await new Promise<{ destroy(): void }>((resolve) => {
    send(0, of, "/", new Upgrade(resolve));
  });
  expect(limits.of(of)!.connections).toBe(1);
  const behind = send(0, of);
  expect(limits.of(of)!.pending).toBe(1);
  upgrade.destroy();
  await until(() => held.length === 1);
  held.pop()!.end();
  await until(() => behind.sink.events.includes("end"));
  expect(limits.of(of)).toMatchObject({ connections: 1, pending: 0 });
  await transport.close(1_000);
  expect(limits.size).toBe(0);
});
