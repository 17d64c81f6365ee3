import { afterAll, beforeAll, describe, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { expectAllGood } from "./harness/tally.ts";
import { during, until } from "./harness/until.ts";
import { documents, peerAuthentication, serviceEntry } from "./harness/yaml.ts";

/** SIGTERM under load: whoever was promised an answer gets it, and nobody else is promised one. */

/** The SDK's own default, which the other tests shorten. */
const drain = { TRAMA_DRAIN_MS: "5000" };

let mesh: TestMesh;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "shop.yaml": documents(
        peerAuthentication("shop", "STRICT"),
        ...["fastify", "express", "http", "storefront", "catalog"].map((app) => serviceEntry(app, "shop")),
      ),
    },
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});

async function allServe(client: Client, url: string, services: readonly Service[]): Promise<void> {
  await until("every instance serves", async () => {
    const { statuses } = await client.call("burst", { url, count: 20 });
    const stats = await Promise.all(services.map((service) => service.call("stats")));
    return statuses[200] === 20 && stats.every(({ served }) => Object.keys(served).length > 0);
  });
}

/** SIGTERM; it must end by itself, in the time of its drain and a little more. */
async function terminate(service: Service): Promise<{ code: number | null; signal: string | null }> {
  const startMs = performance.now();
  service.kill("SIGTERM");
  const end = await Promise.race([service.ended, during(15_000)]);
  if (end === undefined) throw new Error(`${service.name} is still there after 15 s.\n${service.output()}`);
  const tookMs = performance.now() - startMs;
  if (tookMs > 10_000) throw new Error(`${service.name} took ${tookMs} ms to end.\n${service.output()}`);
  return end;
}

// Side by side: most of each is the waiting of a drain.
describe.concurrent("SIGTERM under load", () => {
  test.for(["fastify", "express", "http"] as const)(
    "one of two %s instances, still in the registry: no GET and no POST is lost, and it ends by itself",
    async (framework, { expect }) => {
      const client = await mesh.client({ account: `customer-of-${framework}` });
      const services = await Promise.all(
        ["a", "b"].map((letter) =>
          mesh.service({ app: framework, framework, name: `${framework}-${letter}`, env: drain }),
        ),
      );
      await allServe(client, `http://${framework}:8080/warm`, services);
      const url = `http://${framework}:8080/books`;
      const loads = await Promise.all([
        client.call("startLoad", { url, concurrency: 6, perSecond: 120 }),
        client.call("startLoad", { url, concurrency: 4, perSecond: 60, method: "POST", bodyBytes: 5_000 }),
        // Always some requests that take longer than a moment: the signal falls into them.
        client.call("startLoad", { url: `http://${framework}:8080/slow?ms=700`, concurrency: 6 }),
      ]);
      await until("the load runs", async () => (await client.call("tally", loads[0]!)).sent > 100);

      const end = await terminate(services[0]!);
      expect(end).toMatchObject({ code: 0 });

      // Past its end as well: its port is in the registry, and refuses.
      const { sent } = await client.call("tally", loads[0]!);
      await until("the load goes on", async () => (await client.call("tally", loads[0]!)).sent > sent + 100);
      for (const load of loads) {
        const tally = await client.call("stopLoad", load);
        expectAllGood(tally);
      }
    },
  );

  test("a service in the middle: its own calls are not cut before its answers", async ({ expect }) => {
    const client = await mesh.client({ account: "customer-of-storefront" });
    const catalog = await mesh.service({ app: "catalog" });
    const storefronts = await Promise.all(
      ["a", "b"].map((letter) =>
        mesh.service({ app: "storefront", framework: "express", name: `storefront-${letter}`, env: drain }),
      ),
    );
    const url = `http://storefront:8080/relay?url=${encodeURIComponent("http://catalog:8080/slow?ms=300")}`;
    await allServe(client, url, [catalog, ...storefronts]);
    const load = await client.call("startLoad", { url, concurrency: 12 });
    await until("the load runs", async () => (await client.call("tally", load)).sent > 40);
    const end = await terminate(storefronts[0]!);
    expect(end).toMatchObject({ code: 0 });
    const tally = await client.call("stopLoad", load);
    expectAllGood(tally);
  });
});
