import { once } from "node:events";
import http from "node:http";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { request as namedRequest } from "node:http";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { HttpRequest } from "@smithy/protocol-http";
import axios from "axios";
import got from "got";
import { Agent, getGlobalDispatcher, request as undiciRequest } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { meshConfig } from "../../../test/kit/mesh-config.ts";
import { intercept } from "../src/adapters/intercept.ts";
import { type HttpClientWorld, httpClientWorld, listening, reviewsAt } from "./http-client-world.ts";

// The libraries that applications call with: given our agents, and caught without their knowledge.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

let calls = 0;
/** Fails once for each path before it answers. */
function flaky(): http.Server {
  const seen = new Set<string>();
  calls = 0;
  return http.createServer((incoming, response) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      calls++;
      const again = incoming.url!.startsWith("/flaky") && !seen.has(incoming.url!);
      seen.add(incoming.url!);
      if (incoming.url === "/moved") response.writeHead(302, { location: "/found" }).end();
      else {
        response.writeHead(again ? 503 : 200, { "content-type": "application/json", connection: "close" });
        response.end(JSON.stringify({ url: incoming.url, method: incoming.method, body, peer: incoming.headers.host }));
      }
    });
  });
}

async function world(): Promise<HttpClientWorld & { stranger: string }> {
  const servers = [flaky(), flaky()] as const;
  const [address, stranger] = [await listening(servers[0]), await listening(servers[1])];
  const made = httpClientWorld(reviewsAt(address));
  closers.push(async () => {
    await made.close();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });
  return Object.assign(made, { stranger });
}

const url = "http://reviews:9090";

test("axios: JSON, retries by policy, redirects, streams, cancel, errors by their code", async () => {
  const client = await world();
  const { http: httpAgent, https: httpsAgent } = client.agents;
  const api = axios.create({ baseURL: url, httpAgent, httpsAgent, proxy: false, adapter: "http" });
  const posted = await api.put("/flaky", { a: 1 });
  expect(posted.data).toMatchObject({ method: "PUT", body: '{"a":1}' });
  expect(client.ended[0]!.record.attempts).toBe(2);
  expect((await api.get("/moved")).data).toMatchObject({ url: "/found" });
  const stream = await api.get("/stream", { responseType: "stream" });
  let text = "";
  for await (const chunk of stream.data as AsyncIterable<Buffer>) text += chunk.toString();
  expect(JSON.parse(text)).toMatchObject({ url: "/stream" });
  const controller = new AbortController();
  const cancelled = api.get("/flaky-not", { signal: controller.signal });
  controller.abort();
  await expect(cancelled).rejects.toMatchObject({ code: "ERR_CANCELED" });
  client.engine.publish(reviewsAt("127.0.0.1:1"));
  await expect(api.get("/")).rejects.toMatchObject({ code: "CONNECT_FAILED" });
});

test("got: JSON, streams, its own time-outs and retries", async () => {
  const client = await world();
  const api = got.extend({ prefixUrl: url, agent: client.agents, retry: { limit: 0 } });
  expect(await api.put("flaky", { json: { a: 1 } }).json()).toMatchObject({ method: "PUT", body: '{"a":1}' });
  expect(await api("moved").json()).toMatchObject({ url: "/found" });
  let text = "";
  for await (const chunk of api.stream("stream")) text += String(chunk);
  expect(JSON.parse(text)).toMatchObject({ url: "/stream" });
  const timed = await api("found", { timeout: { request: 3_000, response: 3_000, socket: 3_000 } });
  expect(timed.statusCode).toBe(200);
  expect(timed.timings!.phases.total).toBeGreaterThanOrEqual(0);
});

test("the AWS SDK's handler", async () => {
  const client = await world();
  const handler = new NodeHttpHandler({ httpAgent: client.agents.http, httpsAgent: client.agents.https });
  const send = async (path: string, body: string): Promise<unknown> => {
    const { response } = await handler.handle(
      new HttpRequest({
        protocol: "http:",
        hostname: "reviews",
        port: 9090,
        method: "PUT",
        path,
        headers: { host: "reviews:9090", "content-length": String(body.length), expect: "100-continue" },
        body,
      }),
    );
    let text = "";
    for await (const chunk of response.body as AsyncIterable<Buffer>) text += chunk.toString();
    return JSON.parse(text);
  };
  expect(await send("/flaky", "an object")).toMatchObject({ body: "an object" });
  handler.destroy();
});

test("interception: hosts of the mesh only, every way to say a request, undone as it was", async () => {
  const client = await world();
  const before = { request: http.request, get: http.get };
  const undo = intercept(client.mesh, { fetch: false });
  expect(http.request).not.toBe(before.request);
  const text = async (request: http.ClientRequest): Promise<string> => {
    const [response] = (await once(request.end(), "response")) as [http.IncomingMessage];
    let all = "";
    for await (const chunk of response) all += String(chunk);
    return all;
  };
  expect(await text(http.get(`${url}/string`))).toContain("/string");
  expect(await text(http.get(new URL(`${url}/object`), { method: "DELETE" }))).toContain("DELETE");
  expect(await text(http.request({ host: "reviews", port: 9090, path: "/options", agent: false }))).toContain(
    "/options",
  );
  const callback = new Promise((resolve) => http.get(`${url}/callback`, resolve).end());
  ((await callback) as http.IncomingMessage).resume();
  // ES modules that named it before are told as well.
  expect(await text(namedRequest(`${url}/named`))).toContain("/named");
  expect((await axios.get(`${url}/axios`, { adapter: "http", proxy: false })).data).toMatchObject({ url: "/axios" });
  expect(await got(`${url}/got`).json()).toMatchObject({ url: "/got" });
  const { request: required } = createRequire(import.meta.url)("node:http") as typeof http;
  expect(await text(required(`${url}/required`))).toContain("/required");
  expect(client.ended).toHaveLength(8);
  // A stranger keeps its own agent.
  const own = new http.Agent();
  expect(await text(http.request(`http://${client.stranger}/x`, { agent: own }))).toContain("/x");
  expect(client.ended).toHaveLength(8);
  // What Node refuses, it refuses itself.
  expect(() => http.request("nonsense")).toThrow(expect.objectContaining({ code: "ERR_INVALID_URL" }));
  expect(() => http.request("https://reviews:9090")).toThrow(expect.objectContaining({ code: "ERR_INVALID_PROTOCOL" }));
  undo();
  expect([http.request, http.get]).toEqual([before.request, before.get]);
  syncBuiltinESMExports();
});

test("interception asks for a host that nobody knows yet, and lets it go when it is none of the mesh's", async () => {
  const client = await world();
  client.engine.publish(meshConfig({}));
  closers.push(intercept(client.mesh, { fetch: false }));
  const [, port] = client.stranger.split(":");
  let lookups = 0;
  const request = http.get(`http://elsewhere.test:${port}/away`, {
    lookup: (_host, options, done) => {
      lookups++;
      if (typeof options === "object" && options.all === true) done(null, [{ address: "127.0.0.1", family: 4 }]);
      else done(null, "127.0.0.1", 4);
    },
  });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.resume();
  expect([response.statusCode, lookups, client.asked]).toEqual([200, 1, [`elsewhere.test:${port}`]]);
  await once(response, "close");
});

test("interception of the built-in fetch and of undici's global dispatcher, undone as it was", async () => {
  const client = await world();
  const before = getGlobalDispatcher();
  const undo = intercept(client.mesh, { http: false });
  expect(await (await fetch(`${url}/flaky-fetch`, { method: "PUT", body: "again" })).json()).toMatchObject({
    body: "again",
  });
  expect(client.ended.map(({ record }) => record.attempts)).toEqual([2]);
  expect(await (await undiciRequest(`${url}/global`)).body.json()).toMatchObject({ url: "/global" });
  expect(client.ended).toHaveLength(2);
  // A stranger goes to the dispatcher that was there.
  expect(await (await fetch(`http://${client.stranger}/x`)).json()).toMatchObject({ url: "/x" });
  expect(await (await undiciRequest(`http://${client.stranger}/y`)).body.json()).toMatchObject({ url: "/y" });
  expect(client.ended).toHaveLength(2);
  // A dispatcher that is given by hand is the application's own word.
  const own = new Agent();
  expect(await (await undiciRequest(`http://${client.stranger}/z`, { dispatcher: own })).body.json()).toMatchObject({
    url: "/z",
  });
  await own.close();
  undo();
  expect(getGlobalDispatcher()).toBe(before);
  await expect(fetch(`${url}/gone`)).rejects.toThrow();
  expect(client.ended).toHaveLength(2);
});

test("two that patch: each is undone in any order", () => {
  const original = http.request;
  const [one, other] = [httpClientWorld(meshConfig({})), httpClientWorld(meshConfig({}))];
  closers.push(
    () => one.close(),
    () => other.close(),
  );
  const first = intercept(one.mesh, { fetch: false });
  const second = intercept(other.mesh, { fetch: false });
  first();
  expect(http.request).not.toBe(original);
  second();
  // What the second had found was the first's, which by now only passes on.
  http.request = original;
  syncBuiltinESMExports();
});
