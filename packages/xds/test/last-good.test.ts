import { typeUrls } from "@trama/proto";
import { afterEach, describe, expect, test } from "vitest";

import { assignment, duration, edsCluster } from "../../../test/kit/xds-resources.ts";
import { type LastGoodStore, type XdsClientOptions } from "../src/index.ts";
import { encodeKept, decodeKept } from "../src/last-good-format.ts";
import { type Joined, adsServer, join, leaveWorld, reviews, v1, v2, weightsOf } from "./client-world.ts";
import type { AdsServer } from "../../../test/kit/ads-server.ts";

afterEach(leaveWorld);

const self = "spiffe://cluster.local/ns/shop/sa/reviews";

interface Disk extends LastGoodStore {
  bytes: Uint8Array | undefined;
}

function disk(): Disk {
  const store: Disk = {
    bytes: undefined,
    load: () => Promise.resolve(store.bytes),
    save: (bytes) => Promise.resolve(void (store.bytes = bytes)),
  };
  return store;
}

const kept = (store: LastGoodStore, more: Partial<XdsClientOptions> = {}): Partial<XdsClientOptions> => ({
  ...more,
  lastGood: { store, identity: () => self },
});

/** A process that had all of reviews:9080 and ended. */
async function earlier(server: AdsServer, store: LastGoodStore, more: Partial<XdsClientOptions> = {}): Promise<void> {
  const { client } = join(server, kept(store, more));
  await client.restore();
  await client.outbound("reviews:9080");
  await client.close();
}

/** Starts one again, with what the earlier one left. */
async function again(server: AdsServer, store: LastGoodStore, more: Partial<XdsClientOptions> = {}): Promise<Joined> {
  const joined = join(server, kept(store, more));
  await expect(joined.client.restore()).resolves.toBe(true);
  return joined;
}

describe.each(["delta", "sotw"] as const)("%s", (variant) => {
  test("a process starts with the control plane down, and is brought up to date when it comes back", async () => {
    const server = await adsServer();
    const store = disk();
    server.set(...reviews());
    await earlier(server, store, { variant });
    await server.stop();
    const { client, env } = await again(server, store, { variant });
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
    expect(weightsOf(client.config)).toEqual([90, 10]);
    expect(client.config.clusters.get(v1)?.endpoints.priorities[0]?.[0]?.endpoints[0]?.address).toBe("10.0.0.1:9080");
    expect(client.status()).toMatchObject({ connected: false });
    expect(client.status().resources.map((one) => one.state)).toEqual(Array.from({ length: 6 }, () => "RESTORED"));

    server.set(...reviews({ [v1]: 50, [v2]: 50 }));
    await server.restart();
    await server.until(() => {
      env.clock.advance(1_000);
      return weightsOf(client.config)?.toString() === "50,50";
    });
  });

  test("what was removed meanwhile goes when the server says so (R12, R24)", async () => {
    const server = await adsServer();
    const store = disk();
    server.set(...reviews());
    await earlier(server, store, { variant });
    await server.stop();
    const { client, env } = await again(server, store, { variant });
    await client.outbound("reviews:9080");
    server.remove(typeUrls.listener, "reviews:9080");
    await server.restart();
    await server.until(() => {
      env.clock.advance(1_000);
      return client.config.outbound.size === 0;
    });
    await expect(client.outbound("reviews:9080")).resolves.toBe("missing");
    // And it does not come back from the disk.
    await client.close();
    const { resources } = await decodeKept(store.bytes!);
    expect(resources.map((one) => one.name)).not.toContain("reviews:9080");
  });
});

test("delta: the first stream says what is held, and nothing of it is sent again (R22)", async () => {
  const server = await adsServer();
  const store = disk();
  server.set(...reviews());
  await earlier(server, store);
  await server.stop();
  const { client, env } = await again(server, store);
  await client.outbound("reviews:9080");
  await server.restart();
  await server.until(() => {
    env.clock.advance(100);
    return client.status().connected && server.stream.delta.length >= 4;
  });
  const versions = server.stream.delta.flatMap((one) => Object.keys(one.initialResourceVersions));
  expect(versions.toSorted()).toEqual(
    client
      .status()
      .resources.map((one) => one.name)
      .toSorted(),
  );
  // The next thing that it says is about something new.
  server.set(assignment(v1, [{ address: "10.0.0.9", port: 9080 }]));
  await server.until(
    () => client.config.clusters.get(v1)?.endpoints.priorities[0]?.[0]?.endpoints[0]?.address === "10.0.0.9:9080",
  );
  // Put in force before it is acknowledged.
  await server.until(() => server.stream.acks.length > 0);
  expect(server.stream.acks).toHaveLength(1);
});

test("the state of the world's versions are of a type, and are not kept as those of resources", async () => {
  const server = await adsServer();
  const store = disk();
  server.set(...reviews());
  await earlier(server, store, { variant: "sotw" });
  const { resources } = await decodeKept(store.bytes!);
  expect(new Set(resources.map((one) => one.version))).toEqual(new Set([""]));
});

test("a kept resource that this release refuses is dropped; the others serve", async () => {
  const server = await adsServer();
  const store = disk();
  server.set(...reviews());
  await earlier(server, store);
  const good = await decodeKept(store.bytes!);
  const { resource } = server.wrap(edsCluster(v2, { connectTimeout: duration(0) }));
  const resources = good.resources.map((one) =>
    one.typeUrl === typeUrls.cluster && one.name === v2 ? { ...one, bytes: resource!.value } : one,
  );
  store.bytes = await encodeKept({ ...good, resources });
  await server.stop();
  const { client, env } = await again(server, store);
  const answer = client.outbound("reviews:9080");
  await server.until(() =>
    env.logged.some((one) => one.message.includes(`the kept cluster ${v2} is not used: connect_timeout`)),
  );
  expect(client.config.outbound.size).toBe(0);
  await server.restart();
  await server.until(() => {
    env.clock.advance(100);
    return client.config.outbound.size === 1;
  });
  await expect(answer).resolves.toBe("found");
});

test("while a server can be asked it has the first word; when it goes, what was kept answers who still waits", async () => {
  const server = await adsServer();
  const store = disk();
  server.set(...reviews());
  await earlier(server, store);
  await server.stop();
  // The same address, and a control plane that is there but has nothing to say yet.
  const manual = await adsServer({ manual: true, port: server.port });
  const { client, env } = await again(manual, store);
  void client.outbound("other:1").catch(() => {});
  await manual.until(() => manual.stream.delta.length === 1);
  manual.stream.respond({ typeUrl: typeUrls.listener, removedResources: ["other:1"] });
  await manual.until(() => client.status().resources.some((one) => one.state === "DOES_NOT_EXIST"));
  const answer = client.outbound("reviews:9080");
  await manual.until(() => manual.stream.subscribed(typeUrls.listener).has("reviews:9080"));
  expect(client.config.outbound.size).toBe(0);
  manual.stream.kill();
  await expect(answer).resolves.toBe("found");
  expect(client.config.outbound.size).toBe(1);
  expect(env.logged.some((one) => one.level === "warn")).toBe(false);
});

test("a server that says nothing of a name for 15 s: what was kept is better than nothing (R10)", async () => {
  const server = await adsServer();
  const store = disk();
  server.set(...reviews());
  await earlier(server, store);
  await server.stop();
  const silent = await adsServer({ manual: true, port: server.port });
  const { client, env } = await again(silent, store);
  await silent.until(() => client.status().connected);
  env.clock.advance(5_000); // silence means yes
  const answer = client.outbound("reviews:9080");
  await silent.until(() => silent.stream.delta.length === 1);
  env.clock.advance(14_999);
  expect(client.config.outbound.size).toBe(0);
  env.clock.advance(1);
  await expect(answer).resolves.toBe("found");
});
