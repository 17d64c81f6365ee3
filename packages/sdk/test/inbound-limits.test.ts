import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { type ServerWorld, serverWorld } from "./server-world.ts";

let noLeaks: () => Promise<void>;
let world: ServerWorld;
const waiting: ServerResponse[] = [];
const server = createServer((_request, response) => {
  waiting.push(response);
  server.emit("waits");
});

beforeAll(async () => {
  noLeaks = leakCheck();
  world = await serverWorld(server, { identity: testIdentity(makeCertificate("root"), "shop", "web") });
});
afterAll(async () => {
  await world.close();
  await noLeaks();
});

/** A connection with a request on it. */
async function ask(): Promise<Socket> {
  const socket = connect(world.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write("GET / HTTP/1.1\r\nhost: web\r\n\r\n");
  return socket;
}

async function statusOf(socket: Socket): Promise<string> {
  const [data] = (await once(socket, "data")) as [Buffer];
  return data.toString().slice(9, 12);
}

test("a port takes as many requests at once as its limit says", async () => {
  world.publish("PERMISSIVE", [], { maxConnections: undefined, maxRequests: 1 });
  const waits = once(server, "waits");
  const first = await ask();
  await waits;
  const second = await ask();
  expect(await statusOf(second)).toBe("503");
  expect(world.ended.at(-1)?.record).toMatchObject({ status: 503, flag: "UO" });
  waiting.shift()!.end("fine");
  expect(await statusOf(first)).toBe("200");
  for (const socket of [first, second]) socket.destroy();
});

test("a port takes as many connections as its limit says; those above are closed, and a place that is free is taken", async () => {
  await closed();
  world.publish("PERMISSIVE", [], { maxConnections: 1, maxRequests: undefined });
  const waits = once(server, "waits");
  const first = await ask();
  await waits;
  const second = connect(world.port, "127.0.0.1");
  second.on("error", () => {});
  await once(second, "close");
  expect(second.bytesRead).toBe(0);
  const another = connect(world.port, "127.0.0.1");
  another.on("error", () => {});
  await once(another, "close");
  expect(world.warned).toEqual([`${world.address} has the 1 connections that it may have: others are closed`]);
  waiting.shift()!.end("fine");
  expect(await statusOf(first)).toBe("200");
  first.destroy();
  await closed();
  const again = once(server, "waits");
  const third = await ask();
  await again;
  waiting.shift()!.end("fine");
  expect(await statusOf(third)).toBe("200");
  third.destroy();
});

/** No connection is left at the server. */
async function closed(): Promise<void> {
  for (const { socket } of world.guard.listener.connections) if (!socket.destroyed) await once(socket, "close");
}
