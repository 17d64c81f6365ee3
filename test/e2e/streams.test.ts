import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { during, until } from "./harness/until.ts";
import { documents, peerAuthentication, route, serviceEntry } from "./harness/yaml.ts";

/** Bodies are streams: what passes through is never kept, and who reads slowly slows the writer down. */

const gigabyte = 1 << 30;
/** The whole gigabyte through the front door; a quarter of it says as much of the other. */
const transfers = [
  ["mesh.fetch", "1 GB", gigabyte],
  ["undici.request", "256 MB", gigabyte / 4],
] as const;
/** What a transfer may add to a process at its worst moment: buffers of sockets and streams, and garbage that waits. */
const flatBytes = 128 << 20;

let mesh: TestMesh;
let client: Client;
let service: Service;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "shop.yaml": documents(
        peerAuthentication("shop", "STRICT"),
        serviceEntry("files", "shop"),
        // A policy that would retry: what went out as a stream must not be kept for that.
        route("files", "shop", { retries: `{ attempts: 2, retryOn: "5xx,reset,connect-failure" }` }),
      ),
    },
  });
  const execArgv = ["--expose-gc"];
  [service, client] = await Promise.all([
    mesh.service({ app: "files", framework: "http", execArgv }),
    mesh.client({ account: "customer" }, { execArgv }),
  ]);
  await until("the service is found", async () => {
    const { answer } = await client.call("attempt", { url: "http://files:8080/echo" });
    return answer?.status === 200;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});
beforeEach(() => service.call("reset"));

/** Growth of resident memory at either end while `transfer` runs. */
async function growth(transfer: () => Promise<void>): Promise<{ sender: number; receiver: number }> {
  await Promise.all([client.call("watchMemory"), service.call("watchMemory")]);
  await transfer();
  const [sender, receiver] = await Promise.all([client.call("memory"), service.call("memory")]);
  expect(Math.min(sender.samples, receiver.samples)).toBeGreaterThan(5);
  return { sender: sender.peakBytes - sender.startBytes, receiver: receiver.peakBytes - receiver.startBytes };
}

describe.each(transfers)("%s, %s", (via, _size, size) => {
  test("upload: memory of both processes stays flat", { timeout: 120_000 }, async () => {
    const grown = await growth(async () => {
      const { status, text } = await client.call("upload", { url: "http://files:8080/sink", via, bytes: size });
      expect({ status, bytes: (JSON.parse(text) as { bytes: number }).bytes }).toEqual({
        status: 200,
        bytes: size,
      });
    });
    expect(grown.sender).toBeLessThan(flatBytes);
    expect(grown.receiver).toBeLessThan(flatBytes);
  });

  test("download: memory of both processes stays flat", { timeout: 120_000 }, async () => {
    const grown = await growth(async () => {
      const bytes = await client.call("download", {
        url: `http://files:8080/stream?bytes=${size}`,
        via,
        bytes: size,
      });
      expect(bytes).toBe(size);
    });
    expect(grown.sender).toBeLessThan(flatBytes);
    expect(grown.receiver).toBeLessThan(flatBytes);
  });
});

describe.each(["mesh.fetch", "undici.request"] as const)("back-pressure through %s", (via) => {
  /** What may be under way between the two applications: socket buffers of the system and a few chunks. */
  const underWay = 24 << 20;

  test("a server that reads slowly makes the sender wait", async () => {
    const id = await client.call("hold", {
      url: "http://files:8080/sip?pauseMs=25",
      via,
      method: "POST",
      streamBytes: gigabyte,
    });
    await until("the server reads", async () => (await service.call("stats")).bodyBytes > 500_000);
    const before = await client.call("produced");
    await during(1_000);
    const [after, read] = [await client.call("produced"), (await service.call("stats")).bodyBytes];
    expect(after - read).toBeLessThan(underWay);
    // It waits, but it has not stopped.
    expect(after).toBeGreaterThanOrEqual(before);
    await client.call("abort", id);
    await service.call("hurry");
    await until("the server is idle", async () => (await service.call("stats")).open === 0);
  });

  test("a caller that reads slowly makes the server wait", async () => {
    await Promise.all([client.call("watchMemory"), service.call("watchMemory")]);
    const id = await client.call("hold", { url: `http://files:8080/stream?bytes=${gigabyte}`, via, readPauseMs: 25 });
    await during(1_500);
    const [reader, writer] = await Promise.all([client.call("memory"), service.call("memory")]);
    expect(reader.peakBytes - reader.startBytes).toBeLessThan(flatBytes);
    expect(writer.peakBytes - writer.startBytes).toBeLessThan(flatBytes);
    const aborted = async (): Promise<number> => (await service.call("stats")).aborted["GET /stream"] ?? 0;
    // The server is still in the middle of it: nobody took the gigabyte off its hands.
    expect(await aborted()).toBe(0);
    await client.call("abort", id);
    await until("the server sees that the caller left in the middle", async () => (await aborted()) === 1);
  });
});
