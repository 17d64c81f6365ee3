import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { tolerance } from "./harness/numbers.ts";
import { expectAllGood } from "./harness/tally.ts";
import { until } from "./harness/until.ts";
import { documents, peerAuthentication, route, serviceEntry, subsets } from "./harness/yaml.ts";

/** Where requests go: weights, headers, and what is repeated when something goes wrong. */

const canary = documents(
  serviceEntry("catalog", "shop"),
  subsets("catalog", "shop", ["v1", "v2"]),
  `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: catalog, namespace: shop }
spec:
  hosts: [catalog.shop.svc.cluster.local]
  http:
    - name: preview
      match: [{ headers: { x-preview: { exact: "yes" } } }]
      route: [{ destination: { host: catalog.shop.svc.cluster.local, subset: v2 } }]
    - name: canary
      route:
        - destination: { host: catalog.shop.svc.cluster.local, subset: v1 }
          weight: 90
        - destination: { host: catalog.shop.svc.cluster.local, subset: v2 }
          weight: 10
`,
);
const reviews = (retries: string): string =>
  documents(serviceEntry("reviews", "shop"), route("reviews", "shop", { timeout: "10s", retries }));

const limits = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: limits, namespace: shop }
spec:
  hosts: [limits.shop.svc.cluster.local]
  http:
    - match: [{ uri: { exact: /fault } }]
      fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
      route: [{ destination: { host: limits.shop.svc.cluster.local } }]
    - match: [{ uri: { prefix: /hang } }]
      timeout: 400ms
      route: [{ destination: { host: limits.shop.svc.cluster.local } }]
    - match: [{ uri: { exact: /relay } }]
      timeout: 1s
      route: [{ destination: { host: limits.shop.svc.cluster.local } }]
    - match: [{ uri: { regex: "/slo[a-z]" }, queryParams: { ms: { exact: "2000" } } }]
      timeout: 5s
      retries: { attempts: 2, perTryTimeout: 200ms, retryOn: "5xx" }
      route: [{ destination: { host: limits.shop.svc.cluster.local } }]
    - route: [{ destination: { host: limits.shop.svc.cluster.local } }]
`;

let mesh: TestMesh;
let client: Client;
let v1: Service;
let v2: Service;
let review: Service;
let limited: Service;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "security.yaml": peerAuthentication("shop", "STRICT"),
      "catalog.yaml": canary,
      "reviews.yaml": reviews(`{ attempts: 3, retryOn: "connect-failure,refused-stream,reset,503", backoff: 2ms }`),
      "limits.yaml": documents(serviceEntry("limits", "shop"), limits),
    },
  });
  [v1, v2, review, limited, client] = await Promise.all([
    mesh.service({ app: "catalog", version: "v1", framework: "fastify" }),
    mesh.service({ app: "catalog", version: "v2", framework: "express" }),
    mesh.service({ app: "reviews", framework: "http" }),
    mesh.service({ app: "limits", framework: "http" }),
    mesh.client({ account: "customer" }),
  ]);
  // All of them are in the client's view: each answers.
  await until("every service is found", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/warm", count: 40 });
    const { statuses } = await client.call("burst", { url: "http://reviews:8080/warm", count: 1 });
    const last = await client.call("burst", { url: "http://limits:8080/warm", count: 1 });
    return (
      versions["v1"] !== undefined && versions["v2"] !== undefined && statuses[200] === 1 && last.statuses[200] === 1
    );
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});
beforeEach(() => Promise.all([v1, v2, review, limited].map((service) => service.call("reset"))));

test("a 90/10 split keeps within its binomial 99.9 % interval over 6,000 requests, by what the servers served", async () => {
  const count = 6_000;
  const tally = await client.call("burst", { url: "http://catalog:8080/books", count, concurrency: 16 });
  expect(tally.sent).toBe(count);
  expectAllGood(tally);

  const served = await Promise.all(
    [v1, v2].map(async (service) => (await service.call("stats")).served["GET /books"]!),
  );
  expect(served[0]! + served[1]!).toBe(count);
  expect(Math.abs(served[1]! / count - 0.1)).toBeLessThanOrEqual(tolerance(0.1, count));
  // What the client read in the answers is what the servers counted.
  expect(tally.versions).toEqual({ v1: served[0], v2: served[1] });
});

test("a header match sends every such request to v2, and no other is affected", async () => {
  const preview = await client.call("burst", {
    url: "http://catalog:8080/preview",
    count: 200,
    headers: { "x-preview": "yes" },
  });
  expect(preview.versions).toEqual({ v2: 200 });
  const other = await client.call("burst", {
    url: "http://catalog:8080/preview",
    count: 200,
    headers: { "x-preview": "no" },
  });
  expect(other.versions["v1"]).toBeGreaterThan(100);
});

test("every spelling of a host finds it", async () => {
  for (const host of ["catalog", "catalog.shop", "catalog.shop.svc", "catalog.shop.svc.cluster.local", "CATALOG"]) {
    const { status } = await client.call("call", { url: `http://${host}:8080/books` });
    expect(status, host).toBe(200);
  }
});

test("a 503 is retried and the caller does not notice", async () => {
  const tally = await client.call("burst", { url: "http://reviews:8080/flaky?every=4", count: 200, concurrency: 1 });
  expectAllGood(tally);
  // One in four was answered 503 and asked again: 200 good answers need 266 tries.
  const { served } = await review.call("stats");
  expect(served["GET /flaky"]).toBe(266);
});

test("no more tries than the policy says, and then the 503 itself is the answer", async () => {
  const { status, text } = await client.call("call", { url: "http://reviews:8080/flaky?every=1" });
  expect({ status, text }).toEqual({ status: 503, text: "flaky" });
  expect((await review.call("stats")).served["GET /flaky"]).toBe(4);
});

test("a status that the policy does not name is not retried", async () => {
  expect((await client.call("call", { url: "http://reviews:8080/status?code=500" })).status).toBe(500);
  expect((await review.call("stats")).served["GET /status"]).toBe(1);
});

test("a dead endpoint costs nobody a request, not even a POST whose body is a stream", async () => {
  // It lives until the client has used it; then it is a port in the YAML where nobody listens.
  const mortal = await mesh.service({ app: "reviews", name: "reviews-b" });
  try {
    await until("both instances serve", async () => {
      await client.call("burst", { url: "http://reviews:8080/both", count: 20 });
      return (await mortal.call("stats")).served["GET /both"] !== undefined;
    });
    mortal.kill("SIGKILL");
    await mortal.ended;

    const gets = await client.call("burst", { url: "http://reviews:8080/dead", count: 300 });
    expectAllGood(gets);
    await review.call("reset");
    const posts = await client.call("burst", {
      url: "http://reviews:8080/dead",
      method: "POST",
      bodyBytes: 100,
      count: 100,
    });
    expectAllGood(posts);
    for (let i = 0; i < 30; i++) {
      const { text } = await client.call("call", {
        url: "http://reviews:8080/dead",
        method: "POST",
        streamBytes: 200_000,
      });
      expect(JSON.parse(text)).toMatchObject({ bytes: 200_000 });
    }
    // Each body arrived exactly once.
    expect((await review.call("stats")).bodies["POST /dead"]).toBe(130);
  } finally {
    const before = await configVersion();
    await mesh.deregister("reviews-b");
    await until("the client knows that it left", async () => (await configVersion()) > before);
  }
});

test("a POST is not repeated once its body went out, though the policy would retry a reset", async () => {
  for (const body of [{ body: "an order" }, { streamBytes: 200_000 }]) {
    await review.call("reset");
    const { answer, failure } = await client.call("attempt", {
      url: "http://reviews:8080/cut",
      method: "POST",
      ...body,
    });
    // The caller learns of it, in whichever form; a good answer would be a lie.
    expect(failure !== undefined || (answer?.status ?? 0) >= 500).toBe(true);
    expect((await review.call("stats")).bodies["POST /cut"]).toBe(1);
  }
});

test("a GET that was cut off is retried", async () => {
  const { answer, failure } = await client.call("attempt", { url: "http://reviews:8080/cut" });
  expect(failure !== undefined || answer?.status === 503).toBe(true);
  expect((await review.call("stats")).served["GET /cut"]).toBe(4);
});

test("a POST that was answered 503 after its body went out is not repeated", async () => {
  const { status } = await client.call("call", {
    url: "http://reviews:8080/flaky?every=1",
    method: "POST",
    body: "an order",
  });
  expect(status).toBe(503);
  expect((await review.call("stats")).bodies["POST /flaky"]).toBe(1);
});

test("a fault is injected at the caller: the service sees nothing", async () => {
  expect((await client.call("call", { url: "http://limits:8080/fault" })).status).toBe(418);
  expect((await limited.call("stats")).served).toEqual({});
});

test("a route's time-out ends the call with its own code, and the upstream sees the end", async () => {
  const { failure, tookMs } = await client.call("attempt", { url: "http://limits:8080/hang" });
  expect([failure?.code, failure?.causes[0]?.code], JSON.stringify(failure)).toContain("TIMEOUT");
  expect(tookMs).toBeGreaterThanOrEqual(390);
  expect(tookMs).toBeLessThan(2_000);
  await until("the upstream saw it", async () => (await limited.call("stats")).aborted["GET /hang"] === 1);
});

test("each try has its own time-out, and a GET that ran into it is tried again", async () => {
  const { failure, tookMs } = await client.call("attempt", { url: "http://limits:8080/slow?ms=2000" });
  expect([failure?.code, failure?.causes[0]?.code], JSON.stringify(failure)).toContain("PER_TRY_TIMEOUT");
  expect(tookMs).toBeGreaterThanOrEqual(590);
  expect(tookMs).toBeLessThan(2_000);
  expect((await limited.call("stats")).served["GET /slow"]).toBe(3);
});

test("a deadline travels: three services on, the last one is let go in time, though its own route would wait", async () => {
  const through = (service: string, url: string): string =>
    `http://${service}:8080/relay?url=${encodeURIComponent(url)}`;
  const url = through("limits", through("catalog", "http://reviews:8080/hang"));
  const start = performance.now();
  const { failure, answer } = await client.call("attempt", { url });
  // Each hop keeps a margin so that the news of a time-out further on comes back in time; where it does not, the caller's own clock rings.
  expect(JSON.stringify({ failure, answer })).toMatch(/\bTIMEOUT\b/);
  await until("the last upstream saw it", async () => (await review.call("stats")).aborted["GET /hang"] === 1);
  // Its own route says 10 s.
  expect(performance.now() - start).toBeLessThan(5_000);
});

/** The version of the configuration that the client has published. */
async function configVersion(): Promise<number> {
  return (await client.call("status")).configVersion;
}
