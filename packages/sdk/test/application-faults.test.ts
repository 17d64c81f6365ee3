import { once } from "node:events";
import http, { type RequestListener } from "node:http";
import http2 from "node:http2";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { until } from "../../../test/kit/until.ts";
import { type ServerWorld, serverWorld } from "./server-world.ts";

// What an application's own listener throws is the application's: neither swallowed by the mesh nor turned into an answer.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** The next exception that nobody catches; the run goes on. */
function uncaught(): Promise<unknown> {
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  return new Promise((resolve) => {
    process.once("uncaughtException", (thrown: unknown) => {
      for (const each of others) process.on("uncaughtException", each);
      resolve(thrown);
    });
  });
}

const fault = new Error("a bug of the application");
const listener: RequestListener = (request, response) => {
  if (request.url === "/bug") throw fault;
  response.end("served");
};

async function world(server: http.Server | http2.Http2Server): Promise<ServerWorld> {
  const made = await serverWorld(server, { identity: testIdentity(makeCertificate("root"), "shop", "reviews") });
  closers.push(() => made.close());
  made.publish("DISABLE");
  return made;
}

test("a request listener of an http.Server", async () => {
  const { address, engine } = await world(http.createServer(listener));
  const thrown = uncaught();
  const asked = http.get(`http://${address}/bug`, { agent: false });
  const ended = once(asked, "error");
  expect(await thrown).toBe(fault);
  // Nobody answers it, as in plain Node; others are served.
  expect(engine.active).toBe(1);
  const [other] = (await once(http.get(`http://${address}/`, { agent: false }), "response")) as [http.IncomingMessage];
  other.resume();
  expect(other.statusCode).toBe(200);
  asked.destroy(new Error("enough"));
  await ended;
  await until(() => engine.active === 0, "the request has ended");
});

test("an upgrade listener", async () => {
  const server = http.createServer(listener);
  server.on("upgrade", (_request, socket) => {
    closers.push(() => socket.destroy());
    throw fault;
  });
  const { address } = await world(server);
  const thrown = uncaught();
  const asked = http.get(`http://${address}/`, { agent: false, headers: { connection: "upgrade", upgrade: "x" } });
  const ended = once(asked, "error");
  expect(await thrown).toBe(fault);
  asked.destroy(new Error("enough"));
  await ended;
});

test("a request listener of a native http2 server", async () => {
  const { address, engine } = await world(http2.createServer(listener as never));
  const thrown = uncaught();
  const session = http2.connect(`http://${address}`);
  closers.push(() => session.destroy());
  session.on("error", () => {});
  const asked = session.request({ ":path": "/bug" });
  asked.on("error", () => {});
  expect(await thrown).toBe(fault);
  const other = session.request({ ":path": "/" });
  const [answer] = (await once(other, "response")) as [http2.IncomingHttpHeaders];
  other.resume();
  expect(answer[":status"]).toBe(200);
  asked.close(http2.constants.NGHTTP2_CANCEL);
  await until(() => engine.active === 0, "the request has ended");
});
