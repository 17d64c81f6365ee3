import http from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { until } from "./harness/until.ts";
import { documents, peerAuthentication, serviceEntry } from "./harness/yaml.ts";
import type { Via } from "./programs/client.ts";

/** The ways into the mesh that applications have, and what becomes of hosts that are not in it. */

const principal = "spiffe://cluster.local/ns/shop/sa/customer";

let mesh: TestMesh;
let client: Client;
let strict: Client;
let service: Service;
let outside: http.Server;
/** Declared to the mesh under another name, and found by DNS. */
let declared: http.Server;
/** On an address that is not loopback where the machine has one: loopback is never the mesh's business. */
let outsideUrl: string;

beforeAll(async () => {
  declared = http.createServer((request, response) => response.end(`declared, as ${request.headers.host}`));
  await new Promise<void>((resolve) => declared.listen(0, "127.0.0.1", resolve));
  const byName = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: files, namespace: shop }
spec:
  hosts: [files.example.com]
  resolution: DNS
  ports: [{ number: 80, name: http, targetPort: ${(declared.address() as AddressInfo).port} }]
  endpoints: [{ address: localhost }]
`;
  mesh = await startMesh({
    yaml: { "shop.yaml": documents(peerAuthentication("shop", "STRICT"), serviceEntry("catalog", "shop"), byName) },
  });
  const address =
    Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === "IPv4" && !one.internal)?.address ?? "127.0.0.1";
  outside = http.createServer((request, response) =>
    response.end(request.headers["x-trama-peer"] === undefined ? "outside" : "outside, told of the mesh"),
  );
  await new Promise<void>((resolve) => outside.listen(0, address, resolve));
  outsideUrl = `http://${address}:${(outside.address() as AddressInfo).port}/`;
  [service, client, strict] = await Promise.all([
    mesh.service({ app: "catalog", framework: "fastify" }),
    mesh.client({ account: "customer" }),
    mesh.client({ account: "strict" }, { env: { TRAMA_OUTBOUND_TRAFFIC_POLICY: "REGISTRY_ONLY" } }),
  ]);
  await until("the service is found", async () => {
    const { answer } = await client.call("attempt", { url: "http://catalog:8080/echo" });
    return answer?.status === 200;
  });
});
afterAll(async () => {
  await mesh?.close();
  for (const server of [outside, declared]) {
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  }
  await expectNoLeaks();
});

describe.each(["mesh.fetch", "undici.request", "undici.fetch", "node:http"] as const)("%s", (via) => {
  test("GET, and POST with a body in memory and as a stream, go through the mesh", async () => {
    const get = await client.call("call", { url: "http://catalog:8080/echo?x=1", via, headers: { "x-mine": "yes" } });
    expect(get.headers["x-version"]).toBe("v1");
    expect(JSON.parse(get.text)).toMatchObject({
      peer: principal,
      method: "GET",
      path: "/echo?x=1",
      headers: { "x-mine": "yes" },
    });
    const post = await client.call("call", { url: "http://catalog:8080/echo", via, method: "POST", body: "12345" });
    expect(JSON.parse(post.text)).toMatchObject({ peer: principal, method: "POST", bytes: 5 });
    const stream = await client.call("call", {
      url: "http://catalog:8080/echo",
      via,
      method: "PUT",
      streamBytes: 300_000,
    });
    expect(JSON.parse(stream.text)).toMatchObject({ peer: principal, method: "PUT", bytes: 300_000 });
  });

  test("answers without a body, and errors of the service, come as they are", async () => {
    for (const code of [204, 304, 404, 500]) {
      const { status } = await client.call("call", { url: `http://catalog:8080/status?code=${code}`, via });
      expect(status).toBe(code);
    }
    const head = await client.call("call", { url: "http://catalog:8080/echo", via, method: "HEAD" });
    expect(head).toMatchObject({ status: 200, text: "" });
  });

  test("a host that the mesh does not know passes through, and learns nothing of the mesh", async () => {
    expect((await client.call("call", { url: outsideUrl, via })).text).toBe("outside");
  });

  test("a host that is declared is looked up by its endpoint's name, at the first call already", async () => {
    const { text } = await strict.call("call", { url: "http://files.example.com/", via });
    expect(text).toBe("declared, as files.example.com");
  });

  test("under REGISTRY_ONLY such a host is refused with a code, and one in the mesh is not", async () => {
    const { failure } = await strict.call("attempt", { url: "http://nowhere.example:80/", via });
    const codes = [failure?.code, ...(failure?.causes.map(({ code }) => code) ?? [])];
    expect(codes, JSON.stringify(failure)).toContain("BLOCKED");
    expect((await strict.call("call", { url: "http://catalog:8080/echo", via })).status).toBe(200);
  });
});

test("setGlobalDispatcher catches the built-in fetch, and requests of undici that name no dispatcher", async () => {
  const before = await mesh.client({ account: "customer" });
  // Before, nobody knows the host: no such name in any DNS.
  expect(
    (await before.call("attempt", { url: "http://catalog:8080/echo", via: "built-in fetch" })).failure,
  ).toBeDefined();
  await before.call("catchBuiltInFetch");
  for (const via of ["built-in fetch", "undici.request, global"] as const) {
    const { text } = await before.call("call", { url: "http://catalog:8080/echo", via });
    expect(JSON.parse(text), via).toMatchObject({ peer: principal });
    const post = await before.call("call", { url: "http://catalog:8080/echo", via, method: "POST", body: "12345" });
    expect(JSON.parse(post.text), via).toMatchObject({ peer: principal, bytes: 5 });
    expect((await before.call("call", { url: outsideUrl, via })).text).toBe("outside");
  }
  expect((await service.call("stats")).peers["nobody"]).toBeUndefined();
});

test("h2UpgradePolicy: the same port is called over HTTP/2 from then on, over mutual TLS", async () => {
  const spoken = async (via: Via): Promise<unknown> =>
    JSON.parse(
      (await client.call("call", { url: "http://catalog:8080/echo", via, method: "PUT", body: "12345" })).text,
    );
  expect(await spoken("mesh.fetch")).toMatchObject({ protocol: "http/1.1", bytes: 5 });
  await mesh.write(
    "upgrade.yaml",
    `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: catalog, namespace: shop }
spec: { host: catalog, trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: UPGRADE } } } }
`,
  );
  await until("it is called over HTTP/2", async () => {
    const answer = (await spoken("mesh.fetch")) as { protocol: string };
    return answer.protocol === "h2";
  });
  for (const via of ["undici.request", "node:http"] as const)
    expect(await spoken(via), via).toMatchObject({ protocol: "h2", peer: principal, method: "PUT", bytes: 5 });
});

test("after close every way in fails with a code, at once", async () => {
  const closing = await mesh.client({ account: "customer" });
  expect((await closing.call("call", { url: "http://catalog:8080/echo" })).status).toBe(200);
  await closing.call("close");
  for (const via of ["mesh.fetch", "undici.request"] as const) {
    const { failure, tookMs } = await closing.call("attempt", { url: "http://catalog:8080/echo", via });
    const codes = [failure?.code, ...(failure?.causes.map(({ code }) => code) ?? [])];
    expect(codes, JSON.stringify(failure)).toContain("CLOSED");
    expect(tookMs).toBeLessThan(1_000);
  }
});
