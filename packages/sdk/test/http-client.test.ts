import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import http, { type IncomingMessage, type RequestListener } from "node:http";
import https from "node:https";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { MeshError } from "@trama/engine";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { meshConfig } from "../../../test/kit/mesh-config.ts";
import { settled, until } from "../../../test/kit/until.ts";
import { keptByReplays } from "../src/transport/replay-body.ts";
import { type HttpClientWorld, httpClientWorld, listening, reviewsAt } from "./http-client-world.ts";

// Node's own HTTP client through the mesh: whatever applications know of it holds.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  expect(keptByReplays()).toBe(0);
});
afterAll(() => noLeaks());

async function backend(handler: RequestListener): Promise<{ server: http.Server; address: string }> {
  const server = http.createServer(handler);
  const address = await listening(server);
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, address };
}

async function world(handler: RequestListener): Promise<HttpClientWorld & { server: http.Server }> {
  const { server, address } = await backend(handler);
  const made = httpClientWorld(reviewsAt(address));
  closers.push(() => made.close());
  return Object.assign(made, { server });
}

const target = { host: "reviews", port: 9090, path: "/one?two" };

async function read(request: http.ClientRequest, body?: string): Promise<{ response: IncomingMessage; text: string }> {
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return { response, text };
}

const echo: RequestListener = (incoming, response) => {
  let body = "";
  incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
  incoming.on("end", () => {
    response.setHeader("X-Cased", ["a", "b"]);
    response.end(JSON.stringify({ url: incoming.url, method: incoming.method, headers: incoming.headers, body }));
  });
};

test("request and answer, one after the other and at once", async () => {
  const client = await world(echo);
  const { response, text } = await read(
    http.request({ ...target, method: "POST", agent: client.agents.http, headers: { "x-mine": ["1", "2"] } }),
    "a body",
  );
  expect(response.statusCode).toBe(200);
  expect(response.rawHeaders.filter((name) => name === "X-Cased")).toHaveLength(2);
  const seen = JSON.parse(text) as { headers: Record<string, string>; body: string };
  expect(seen).toMatchObject({ url: "/one?two", method: "POST", body: "a body" });
  expect(seen.headers["host"]).toBe("reviews:9090");
  expect(seen.headers["x-mine"]).toBe("1, 2");
  const many = await Promise.all(
    Array.from({ length: 30 }, (_, i) =>
      read(http.request({ ...target, path: `/${i}`, agent: client.agents.http })).then(
        (answer) => (JSON.parse(answer.text) as { url: string }).url,
      ),
    ),
  );
  expect(many).toEqual(Array.from({ length: 30 }, (_, i) => `/${i}`));
  // The scheme says nothing: transport security of a host of the mesh is the mesh's business.
  const secured = https.request({ ...target, agent: client.agents.https });
  expect(JSON.parse((await read(secured)).text)).toMatchObject({ url: "/one?two" });
  expect((secured.socket as { encrypted?: boolean } | null)?.encrypted).toBe(true);
  expect(client.ended.map(({ record }) => record.cluster?.name)).toEqual(Array.from({ length: 32 }, () => "c"));
});

test("a body of known length and a chunked one are sent again; one that is too large is not", async () => {
  const bodies: number[] = [];
  const client = await world((incoming, response) => {
    let size = 0;
    incoming.on("data", (chunk: Buffer) => (size += chunk.length));
    incoming.on("end", () => {
      response.statusCode = bodies.push(size) % 3 === 0 ? 200 : 503;
      response.end("done");
    });
  });
  const put = (): http.ClientRequest => http.request({ ...target, method: "PUT", agent: client.agents.http });
  const known = put();
  known.setHeader("content-length", 5);
  expect((await read(known, "12345")).response.statusCode).toBe(200);
  const chunked = put();
  chunked.write("123");
  expect((await read(chunked, "45678")).response.statusCode).toBe(200);
  expect(bodies).toEqual([5, 5, 5, 8, 8, 8]);
  const large = put();
  large.write(Buffer.alloc(2 * 1024 * 1024));
  expect((await read(large, "x")).response.statusCode).toBe(503);
  expect(bodies.slice(6)).toEqual([2 * 1024 * 1024 + 1]);
});

test("no piece of a body becomes a request, whatever it looks like and whatever its connection carried before", async () => {
  const seen: string[] = [];
  const client = await world((incoming, response) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      seen.push(`${incoming.method} ${incoming.url} ${body}`);
      response.end("a");
    });
  });
  const agent = client.agents.http;
  agent.maxSockets = 1;
  const smuggled = "GET /smuggled HTTP/1.1\r\nHost: reviews:9090\r\n\r\n";
  const ways = new Set<unknown>();
  const inPieces = async (path: string): Promise<void> => {
    const request = http.request({
      ...target,
      path,
      method: "POST",
      agent,
      headers: { "content-length": 2 * smuggled.length },
    });
    request.on("socket", (socket) => ways.add(socket));
    request.flushHeaders();
    for (let i = 0; i < 2; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      request.write(smuggled);
    }
    await read(request);
  };
  for (let i = 0; i < 3; i++) {
    await Promise.all([
      inPieces(`/a${i}`),
      read(http.request({ ...target, path: `/b${i}`, agent })),
      inPieces(`/c${i}`),
    ]);
    await read(http.request({ ...target, path: `/d${i}`, method: "POST", agent }), smuggled);
  }
  const wanted = [0, 1, 2].flatMap((i) => [
    `POST /a${i} ${smuggled}${smuggled}`,
    `GET /b${i} `,
    `POST /c${i} ${smuggled}${smuggled}`,
    `POST /d${i} ${smuggled}`,
  ]);
  expect(seen).toEqual(wanted);
  expect(ways.size).toBe(1);
});

test("errors of the mesh are the errors of the request", async () => {
  const client = httpClientWorld(reviewsAt("127.0.0.1:1"));
  closers.push(() => client.close());
  const [error] = (await once(http.get({ ...target, agent: client.agents.http }), "error")) as [MeshError];
  expect(error).toBeInstanceOf(MeshError);
  expect(error).toMatchObject({ code: "CONNECT_FAILED", sent: false });
  const closed = httpClientWorld(meshConfig({}), undefined, "REGISTRY_ONLY");
  closers.push(() => closed.close());
  const [blocked] = (await once(http.get({ host: "ratings", agent: closed.agents.http }), "error")) as [MeshError];
  expect(blocked.code).toBe("BLOCKED");
  expect(closed.asked).toEqual(["ratings:80"]);
  const [unknown] = (await once(http.get({ ...target, agent: httpClientWorldThatFails().agents.http }), "error")) as [
    MeshError,
  ];
  expect(unknown.code).toBe("NO_CONFIG");
});

function httpClientWorldThatFails(): HttpClientWorld {
  const made = httpClientWorld(meshConfig({}));
  made.answer = () => Promise.reject(new Error("the control plane is away"));
  closers.push(() => made.close());
  return made;
}

test("Expect, interim answers, HEAD and trailers", async () => {
  const client = await world((incoming, response) => {
    if (incoming.method === "HEAD") {
      response.setHeader("content-length", 12);
      return response.end();
    }
    response.writeEarlyHints({ link: "</a.css>; rel=preload" });
    response.writeHead(200, { trailer: "x-sum" });
    incoming.on("data", (chunk: Buffer) => response.write(chunk));
    incoming.on("end", () => {
      response.addTrailers({ "x-sum": "3" });
      response.end();
    });
    return undefined;
  });
  const request = http.request({
    ...target,
    method: "POST",
    agent: client.agents.http,
    headers: { expect: "100-continue" },
  });
  const interim: number[] = [];
  request.on("information", ({ statusCode }) => interim.push(statusCode));
  request.flushHeaders();
  await once(request, "continue");
  const { response, text } = await read(request, "now");
  expect([interim, text, response.trailers]).toEqual([[100, 103], "now", { "x-sum": "3" }]);
  const head = await read(http.request({ ...target, method: "HEAD", agent: client.agents.http }));
  expect([head.response.headers["content-length"], head.text]).toEqual(["12", ""]);
});

test("abort, destroy with a reason, time-out: the upstream learns of it", async () => {
  const gone: string[] = [];
  let begun = Promise.withResolvers<void>();
  const client = await world((incoming, response) => {
    response.on("close", () => gone.push(incoming.url!));
    begun.resolve();
  });
  const reason = new Error("changed my mind");
  for (const [path, give] of [
    ["/abort", (request: http.ClientRequest): unknown => request.destroy()],
    ["/destroy", (request: http.ClientRequest): unknown => request.destroy(reason)],
    ["/timeout", (request: http.ClientRequest): unknown => request.setTimeout(20, () => request.destroy(reason))],
  ] as const) {
    begun = Promise.withResolvers();
    const request = http.get({ ...target, path, agent: client.agents.http });
    const failed = once(request, "error");
    await begun.promise;
    give(request);
    const [error] = (await failed) as [NodeJS.ErrnoException];
    if (path === "/abort") expect(error.code).toBe("ECONNRESET");
    else expect(error).toBe(reason);
    await until(() => gone.includes(path));
  }
  const controller = new AbortController();
  begun = Promise.withResolvers();
  const signalled = once(
    http.get({ ...target, path: "/signal", agent: client.agents.http, signal: controller.signal }),
    "error",
  );
  await begun.promise;
  controller.abort();
  expect(((await signalled) as [Error])[0].name).toBe("AbortError");
  await until(() => gone.includes("/signal") && client.engine.active === 0);
  expect(client.ended.map(({ record }) => record.flag)).toEqual(["DC", "DC", "DC", "DC"]);
});

test.each([
  ["a request in one piece", ""],
  ["one whose body comes later", "body"],
])("an answer cut short is an aborted one, and no error of its request: %s", async (_name, body) => {
  const client = await world((incoming, response) => {
    incoming.resume();
    response.writeHead(200, { "content-length": 100 });
    response.write("half");
    setImmediate(() => response.destroy());
  });
  const request = http.request({ ...target, method: body === "" ? "GET" : "POST", agent: client.agents.http });
  if (body !== "") {
    request.flushHeaders();
    await new Promise((resolve) => setImmediate(resolve));
  }
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  // As with plain Node: whoever has the answer need not listen to the request.
  expect(request.listenerCount("error")).toBe(0);
  let aborted = 0;
  response.on("aborted", () => aborted++);
  response.on("data", () => {});
  const [error] = (await once(response, "error")) as [NodeJS.ErrnoException];
  expect([error.message, error.code, response.complete, aborted]).toEqual(["aborted", "ECONNRESET", false, 1]);
  expect(error.cause).toMatchObject({ code: "RESET", sent: true });
});

test("back-pressure both ways", async () => {
  let written = 0;
  let read = 0;
  const client = await world((incoming, response) => {
    if (incoming.method === "POST") {
      incoming.once("data", (chunk: Buffer) => {
        read += chunk.length;
        incoming.pause();
      });
      return;
    }
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (!response.destroyed && written < 1_000) {
        written++;
        if (!response.write(chunk)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  });
  const slow = http.get({ ...target, agent: client.agents.http });
  slow.on("error", () => {});
  const [response] = (await once(slow, "response")) as [IncomingMessage];
  response.on("error", () => {});
  const upload = http.request({ ...target, method: "POST", agent: client.agents.http });
  upload.on("error", () => {});
  let sent = 0;
  const push = (): void => {
    while (sent < 1_000 && upload.write(Buffer.alloc(64 * 1024))) sent++;
    if (sent < 1_000) upload.once("drain", push);
  };
  push();
  await until(() => written > 0 && read > 0);
  await settled(() => written + sent);
  // What two sockets of the system hold.
  expect(written).toBeLessThan(400);
  expect(sent).toBeLessThan(400);
  slow.destroy();
  upload.destroy();
});

test("a stranger gets an ordinary connection, from the agent's own pool", async () => {
  const client = await world(echo);
  const { address } = await backend(echo);
  const [, port] = address.split(":");
  // Loopback is never the mesh's, as for a sidecar.
  for (let i = 0; i < 2; i++)
    expect((await read(http.request({ host: "127.0.0.1", port, agent: client.agents.http }))).text).toContain('"/"');
  expect(client.ended).toEqual([]);
  expect(client.asked).toEqual([]);
});

test("a request runs in the context of whoever made it, not of the one whose pipe it took over", async () => {
  const client = await world(echo);
  const storage = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const dispatch = client.dispatcher.dispatch.bind(client.dispatcher);
  client.dispatcher.dispatch = (options, handler) => {
    seen.push(storage.getStore());
    return dispatch(options, handler);
  };
  await storage.run("one", () => read(http.request({ ...target, agent: client.agents.http })));
  await storage.run("two", () => read(http.request({ ...target, agent: client.agents.http })));
  await read(http.request({ ...target, agent: client.agents.http }));
  expect(seen).toEqual(["one", "two", undefined]);
});
