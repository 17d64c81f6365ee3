import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { expectAllGood } from "./harness/tally.ts";
import { until } from "./harness/until.ts";
import { documents, peerAuthentication, route, serviceEntry } from "./harness/yaml.ts";

/** A caller that gives up: the upstream learns of it, and the caller gets back the very reason that it gave. */

let mesh: TestMesh;
let client: Client;
let service: Service;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "shop.yaml": documents(
        peerAuthentication("shop", "STRICT"),
        serviceEntry("slow", "shop"),
        // Retries must not answer an abort with another attempt.
        route("slow", "shop", { retries: `{ attempts: 3, retryOn: "5xx,reset,connect-failure" }` }),
      ),
    },
  });
  [service, client] = await Promise.all([mesh.service({ app: "slow" }), mesh.client({ account: "customer" })]);
  await until("the service is found", async () => {
    const { answer } = await client.call("attempt", { url: "http://slow:8080/echo" });
    return answer?.status === 200;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});
beforeEach(() => service.call("reset"));

const served = async (key: string): Promise<number> => (await service.call("stats")).served[key] ?? 0;
const aborted = async (key: string): Promise<number> => (await service.call("stats")).aborted[key] ?? 0;

describe.each(["mesh.fetch", "undici.request", "undici.fetch"] as const)("%s", (via) => {
  test("before the answer", async () => {
    const id = await client.call("hold", { url: "http://slow:8080/hang", via });
    await until("the upstream has it", async () => (await served("GET /hang")) === 1);
    const end = await client.call("abort", id);
    expect(end, JSON.stringify(end.failure)).toMatchObject({ ownReason: true });
    await until("the upstream saw it go", async () => (await aborted("GET /hang")) === 1);
    expect(await served("GET /hang")).toBe(1);
  });

  test("in the middle of the answer", async () => {
    const id = await client.call("hold", { url: "http://slow:8080/drip", via });
    await until("the upstream is answering", async () => (await served("GET /drip")) === 1);
    const end = await client.call("abort", id);
    expect(end, JSON.stringify(end.failure)).toMatchObject({ ownReason: true });
    await until("the upstream saw it go", async () => (await aborted("GET /drip")) === 1);
    expect(await served("GET /drip")).toBe(1);
  });

  test("in the middle of an upload", async () => {
    const id = await client.call("hold", {
      url: "http://slow:8080/sip?pauseMs=20",
      via,
      method: "POST",
      streamBytes: 1 << 30,
    });
    await until("the upstream is reading", async () => (await service.call("stats")).bodyBytes > 100_000);
    const end = await client.call("abort", id);
    expect(end, JSON.stringify(end.failure)).toMatchObject({ ownReason: true });
    await service.call("hurry");
    await until("the upstream saw it go", async () => (await aborted("POST /sip")) === 1);
    expect(await served("POST /sip")).toBe(1);
  });

  test("before the request left: nothing reaches the upstream", async () => {
    const host = `never-${via.replace(/\W/g, "-").toLowerCase()}`;
    const id = await client.call("hold", { url: `http://${host}.shop.svc.cluster.local:8080/`, via });
    const end = await client.call("abort", id);
    // Either the abort won and the reason is the caller's own, or the unknown host had already failed.
    if (!end.ownReason) expect(end.failure).toBeDefined();
    expect((await service.call("stats")).served).toEqual({});
  });
});

test("after many aborts the connections still work and nothing is left open", async () => {
  for (let round = 0; round < 50; round++) {
    const id = await client.call("hold", { url: "http://slow:8080/hang" });
    if (round % 2 === 0) await until("the upstream has it", async () => (await service.call("stats")).open > 0);
    expect(await client.call("abort", id)).toMatchObject({ ownReason: true });
  }
  await until("the upstream is idle", async () => (await service.call("stats")).open === 0);
  const tally = await client.call("burst", { url: "http://slow:8080/echo", count: 100 });
  expectAllGood(tally);
});
