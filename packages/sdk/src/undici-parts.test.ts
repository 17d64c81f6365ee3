import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";

import { Agent, Client, Dispatcher, Dispatcher1Wrapper, errors } from "undici";
import { expect, test } from "vitest";

import * as parts from "./undici-parts.ts";

test("the files are where they were, and hold what undici's index exports", async () => {
  expect(parts.Dispatcher).toBe(Dispatcher);
  expect(parts.errors()).toBe(errors);
  const client = new parts.Client("http://localhost:1");
  expect(client).toBeInstanceOf(Client);
  await client.close();
  const wrapHandler = (wrapper: object): unknown => Reflect.get(wrapper, "wrapHandler");
  expect(wrapHandler(parts.Dispatcher1Wrapper)).toBe(wrapHandler(Dispatcher1Wrapper));
  expect(new parts.Dispatcher1Wrapper(client as never)).toBeInstanceOf(Dispatcher1Wrapper);
  expect(parts.realAgent()).toBeInstanceOf(Agent);
  const api = createRequire(import.meta.url)("undici/lib/api/index.js") as Record<string, unknown>;
  expect(Object.keys(parts.dispatcherMethods).toSorted()).toEqual(Object.keys(api).toSorted());
  for (const [name, method] of Object.entries(api)) expect(Dispatcher.prototype[name as "request"]).toBe(method);
});

test("an agent that nobody used closes at once, and refuses as undici's own does", async () => {
  for (const end of ["close", "destroy"] as const) {
    const agent = new parts.Agent();
    await agent[end]();
    await new Promise<void>((resolve) => agent[end](resolve));
    await expect(agent.request({ origin: "http://localhost:1", path: "/", method: "GET" })).rejects.toBeInstanceOf(
      errors.ClientDestroyedError,
    );
  }
});

test("an agent that is used is undici's, and its end is the other's", async () => {
  const server = createServer((_request, response) => response.end("hello")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const agent = new parts.Agent();
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { body } = await agent.request({ origin, path: "/", method: "GET" });
  await expect(body.text()).resolves.toBe("hello");
  await new Promise<void>((resolve) => agent.close(resolve));
  server.close();
  await once(server, "close");
});
