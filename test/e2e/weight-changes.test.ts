import { afterAll, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { parseMetrics } from "./harness/metrics.ts";
import { tolerance } from "./harness/numbers.ts";
import { expectAllGood } from "./harness/tally.ts";
import { until } from "./harness/until.ts";
import { documents, serviceEntry, subsets, weights } from "./harness/yaml.ts";

/** Configuration that changes under load: every request sees one whole configuration, old or new. */

const changes = 100;
const catalog = (v1: number): string =>
  documents(
    serviceEntry("catalog", "shop"),
    subsets("catalog", "shop", ["v1", "v2"]),
    weights("catalog", "shop", { v1, v2: 100 - v1 }),
  );

let mesh: TestMesh;
let client: Client;
let canary: Service;

beforeAll(async () => {
  mesh = await startMesh({ yaml: { "catalog.yaml": catalog(50) } });
  [, canary, client] = await Promise.all([
    mesh.service({ app: "catalog", version: "v1", framework: "fastify" }),
    mesh.service({ app: "catalog", version: "v2", framework: "express" }),
    mesh.client({ account: "customer" }),
  ]);
  await until("both versions serve", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/warm", count: 40 });
    return versions["v1"] !== undefined && versions["v2"] !== undefined;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});

/** The version of the configuration that this client has published. */
async function configVersion(): Promise<number> {
  return (await client.call("status")).configVersion;
}

test("100 weight changes under load: no request fails, each change arrives, the last weights are in force", async () => {
  const load = await client.call("startLoad", { url: "http://catalog:8080/books", concurrency: 6, perSecond: 400 });
  const first = await configVersion();
  for (let change = 1; change <= changes; change++) {
    const before = await configVersion();
    // Never the same weights twice in a row, and zero on either side among them.
    await mesh.write("catalog.yaml", catalog(change % 2 === 0 ? change % 101 : 100 - (change % 101)));
    await until(`change ${change} arrives`, async () => (await configVersion()) > before, 5_000);
  }
  const last = await configVersion();
  // A write that falls between two reads of the folder may come as one with its neighbour; not here, where each was awaited.
  expect(last - first).toBeGreaterThanOrEqual(changes);

  await mesh.write("catalog.yaml", catalog(20));
  await until("the last weights arrive", async () => (await configVersion()) > last, 5_000);
  const tally = await client.call("stopLoad", load);
  expectAllGood(tally);
  expect(tally.sent).toBeGreaterThan(500);

  const count = 2_000;
  const after = await client.call("burst", { url: "http://catalog:8080/after", count, concurrency: 16 });
  expect(Math.abs((after.versions["v1"] ?? 0) / count - 0.2)).toBeLessThanOrEqual(tolerance(0.2, count));
});

test("a change takes effect within a second of the save", async () => {
  await mesh.write("catalog.yaml", catalog(100));
  await until("all traffic on v1", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/now", count: 50 });
    return versions["v2"] === undefined;
  });
  const startMs = performance.now();
  await mesh.write("catalog.yaml", catalog(0));
  await until("all traffic on v2", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/now", count: 10 });
    return versions["v1"] === undefined;
  });
  expect(performance.now() - startMs).toBeLessThan(1_000);
});

test("endpoints come and go under load: no request fails", async () => {
  const load = await client.call("startLoad", { url: "http://catalog:8080/books", concurrency: 6, perSecond: 200 });
  for (let round = 1; round <= 5; round++) {
    const version = await configVersion();
    const extra = await mesh.service({ app: "catalog", version: "v2", name: `extra-${round}` });
    await until("the new instance serves", async () => (await extra.call("stats")).served["GET /books"] !== undefined);
    // Gone from the registry first, then from the machine: as a platform does it.
    await mesh.deregister(extra.name);
    await until("the client knows that it left", async () => (await configVersion()) > version + 1);
    await extra.stop();
  }
  const tally = await client.call("stopLoad", load);
  expectAllGood(tally);
});

test("a canary that fails is seen within seconds, by its version, and a change of weights ends it within one", async () => {
  await mesh.write("catalog.yaml", catalog(80));
  await until("both versions serve", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/now", count: 50 });
    return versions["v1"] !== undefined && versions["v2"] !== undefined;
  });
  const load = await client.call("startLoad", { url: "http://catalog:8080/books", perSecond: 200 });
  const failures = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const { name, labels, value } of parseMetrics(await client.call("metrics")))
      if (name === "istio_requests_total" && labels["response_code"] === "500")
        found[labels["destination_version"]!] = (found[labels["destination_version"]!] ?? 0) + value;
    return found;
  };
  const brokenMs = performance.now();
  await canary.call("break", 500);
  await until("the metrics show who fails", async () => ((await failures())["v2"] ?? 0) >= 10);
  expect(performance.now() - brokenMs).toBeLessThan(5_000);
  expect(Object.keys(await failures())).toEqual(["v2"]);
  const startMs = performance.now();
  await mesh.write("catalog.yaml", catalog(100));
  await until("nobody fails any more", async () => {
    const { statuses } = await client.call("burst", { url: "http://catalog:8080/now", count: 20 });
    return statuses[500] === undefined;
  });
  expect(performance.now() - startMs).toBeLessThan(1_000);
  await canary.call("mend");
  const { statuses, failed } = await client.call("stopLoad", load);
  expect(failed).toBe(0);
  expect(statuses[200]).toBeGreaterThan(statuses[500]!);
});
