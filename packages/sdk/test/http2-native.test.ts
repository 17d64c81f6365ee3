import http2 from "node:http2";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { peerOf } from "../src/adapters/connection.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";
import { allow, type ServerWorld, serverWorld } from "./server-world.ts";

// Servers of `http2.createServer` in the mesh: streams, and the request objects that Node makes of them.

const root = makeCertificate("root");
const webId = spiffe("shop", "web");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function serve(server: http2.Http2Server): Promise<ServerWorld> {
  const made = await serverWorld(server, { identity: testIdentity(root, "shop", "reviews") });
  closers.push(() => made.close());
  return made;
}

function caller({ address }: ServerWorld, secured = true): ClientWorld {
  const tls = secured ? mutualTls(spiffe("shop", "reviews")) : undefined;
  const made = clientWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { http2: true, endpoints: [endpoint(address)], tls, connectTimeoutMs: 2_000 })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => made.close());
  return made;
}

const url = "http://reviews:9090";

test("request objects: the peer is known, authorization comes first, mesh-internal fields are gone", async () => {
  const seen: unknown[] = [];
  const server = await serve(
    http2.createServer((incoming, response) => {
      seen.push([
        incoming.url,
        peerOf(incoming)?.spiffeId,
        Object.keys(incoming.headers).filter((name) => name.startsWith("x-")),
      ]);
      response.end("served");
    }),
  );
  server.publish("STRICT", [allow(webId, "/open")]);
  const client = caller(server);
  const open = await request(`${url}/open`, { dispatcher: client.dispatcher, headers: { "x-mine": "1" } });
  expect(await open.body.text()).toBe("served");
  const shut = await request(`${url}/shut`, { dispatcher: client.dispatcher });
  expect([shut.statusCode, await shut.body.text()]).toEqual([403, expect.stringContaining("denied")]);
  expect(seen).toEqual([["/open", webId, ["x-mine"]]]);
  await until(() => server.ended.length === 2);
  expect(server.ended.map(({ record }) => [record.status, record.peerPrincipal])).toEqual([
    [200, webId],
    [403, webId],
  ]);
});

test("streams, by the server and by the session: no listener hears of one that was refused", async () => {
  const heard: string[] = [];
  const plain = http2.createServer();
  plain.on("session", (session) =>
    session.on("stream", (_stream, headers) => heard.push(`session ${String(headers[":path"])}`)),
  );
  plain.on("stream", (stream, headers) => {
    heard.push(`server ${String(headers[":path"])}`);
    expect(peerOf(stream)?.spiffeId).toBe(webId);
    stream.respond({ ":status": 200 });
    stream.end("a stream");
  });
  const server = await serve(plain);
  server.publish("STRICT", [allow(webId, "/open")]);
  const client = caller(server);
  for (const path of ["/shut", "/open"])
    await (await request(url + path, { dispatcher: client.dispatcher })).body.dump();
  expect(heard.toSorted()).toEqual(["server /open", "session /open"]);
});

test("a connection that nobody let in is destroyed; malformed requests are refused", async () => {
  const server = await serve(http2.createServer((_incoming, response) => response.end("served")));
  server.publish("DISABLE");
  const client = caller(server, false);
  const ok = await request(url, { dispatcher: client.dispatcher });
  expect(await ok.body.text()).toBe("served");
  const session = http2.connect(`http://${server.address}`);
  closers.push(() => session.destroy());
  const ask = async (headers: http2.OutgoingHttpHeaders): Promise<number> => {
    const stream = session.request(headers, { endStream: true });
    stream.on("error", () => {});
    let status = 0;
    stream.on("response", (fields) => (status = Number(fields[":status"])));
    stream.resume();
    await new Promise((resolve) => stream.on("close", resolve));
    return status;
  };
  expect(await ask({ ":path": "/a#b", ":authority": "reviews" })).toBe(400);
  expect(await ask({ ":path": "/", ":authority": "reviews", host: "ratings" })).toBe(400);
  expect(await ask({ ":path": "/", ":authority": "[::1" })).toBe(400);
  expect(await ask({ ":method": "CONNECT", ":authority": "reviews:80" })).toBe(501);
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`x-${i}`, "1"]));
  expect(await ask({ ":path": "/", ":authority": "reviews", ...many })).toBeOneOf([0, 431]);
  expect(await ask({ ":path": "/", ":authority": "reviews" })).toBe(200);
});

test("a peer that breaks the protocol ends its connection, and not the process", async () => {
  let calls = 0;
  const server = await serve(
    http2.createServer((_incoming, response) => {
      calls++;
      response.end();
    }),
  );
  server.publish("DISABLE");
  for (let i = 0; i < 5; i++) {
    const session = http2.connect(`http://${server.address}`);
    session.on("error", () => {});
    closers.push(() => session.destroy());
    const stream = session.request({ ":method": "POST", ":path": "/", ":authority": "r", "content-length": 3 });
    stream.on("error", () => {});
    stream.end("more than three");
    await new Promise((resolve) => stream.on("close", resolve));
  }
  await until(() => server.engine.active === 0);
  expect(calls).toBeLessThan(6);
});

test("drain: what is under way ends", async () => {
  const held: http2.Http2ServerResponse[] = [];
  const server = await serve(http2.createServer((_incoming, response) => void held.push(response)));
  server.publish("STRICT");
  const client = caller(server);
  const under = request(url, { dispatcher: client.dispatcher });
  await until(() => held.length === 1);
  const stopped = server.guard.stop(5_000, 20);
  held[0]!.end("last");
  expect(await (await under).body.text()).toBe("last");
  await stopped;
});

test("unfit servers are refused", async () => {
  await expect(serverWorld(http2.createSecureServer() as never, { identity: { current: undefined } })).rejects.toThrow(
    "TLS is the mesh's own business",
  );
});
