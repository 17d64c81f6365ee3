import { typeUrls } from "@trama/proto";
import { afterEach, describe, expect, test } from "vitest";

import type { AdsServer } from "../../../test/kit/ads-server.ts";
import { outboundListener } from "../../../test/kit/xds-resources.ts";
import { createGrpcTransport, parseBootstrap } from "../src/index.ts";
import { type Joined, adsServer, join, leaveWorld, reviews, routeName, v1, v2, weightsOf } from "./client-world.ts";

afterEach(leaveWorld);

/** A client with these servers, by priority. */
function joinAll(servers: readonly AdsServer[], variant: "delta" | "sotw"): Joined {
  const [first] = servers;
  const bootstrap = parseBootstrap({
    xds_servers: servers.map(({ address }) => ({ server_uri: address, channel_creds: [{ type: "insecure" }] })),
    node: { id: "sidecar~127.0.0.1~test.shop~shop.svc.cluster.local", metadata: { NAMESPACE: "shop" } },
  });
  return join(first!, { bootstrap, variant, transport: (server) => createGrpcTransport({ server }) });
}

/** Lets time pass until something is so. */
const passUntil = (server: AdsServer, { env }: Joined, probe: () => boolean): Promise<boolean> =>
  server.until(() => {
    env.clock.advance(100);
    return probe();
  });

describe.each(["delta", "sotw"] as const)("R66 over %s", (variant) => {
  test("a lower server is asked when the first cannot be reached, and let go when the first answers", async () => {
    const [first, second] = [await adsServer(), await adsServer()];
    first.set(...reviews({ [v1]: 90, [v2]: 10 }));
    second.set(...reviews({ [v1]: 50, [v2]: 50 }));
    await first.stop();
    const joined = joinAll([first, second], variant);
    const { client, env } = joined;
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
    expect(weightsOf(client.config)).toEqual([50, 50]);
    expect(client.status()).toMatchObject({ connected: true, server: second.address, lastError: undefined });

    await first.restart();
    await passUntil(first, joined, () => weightsOf(client.config)?.toString() === "90,10");
    await second.until(() => second.streams.every((stream) => stream.ended));
    expect(client.status()).toMatchObject({ connected: true, server: first.address });
    expect(env.logged.filter((one) => one.message.includes("is asked meanwhile"))).toHaveLength(1);
    // What the lower one says later is not heard.
    second.set(...reviews({ [v1]: 1 }));
    first.set(...reviews({ [v1]: 70, [v2]: 30 }));
    await first.until(() => weightsOf(client.config)?.toString() === "70,30");
  });

  test("nobody falls back while all that is needed is held; a new name does", async () => {
    const [first, second] = [await adsServer(), await adsServer()];
    first.set(...reviews());
    second.set(...reviews({ [v1]: 50, [v2]: 50 }), outboundListener("other:1", routeName));
    const joined = joinAll([first, second], variant);
    const { client, env } = joined;
    await client.outbound("reviews:9080");
    await first.stop();
    await passUntil(first, joined, () => env.logged.filter((one) => one.level === "warn").length >= 3);
    expect(second.streams).toEqual([]);
    expect(weightsOf(client.config)).toEqual([90, 10]);

    await expect(client.outbound("other:1")).resolves.toBe("found");
    await second.until(() => weightsOf(client.config)?.toString() === "50,50");
    // Nothing has changed at the first, and yet it must send all: what we hold is another server's.
    await first.restart();
    await passUntil(first, joined, () => weightsOf(client.config)?.toString() === "90,10");
    expect(first.stream.nacks).toEqual([]);
  });

  test("a stream that ends after it answered is rotation, and no reason to go elsewhere", async () => {
    const [first, second] = [await adsServer(), await adsServer()];
    first.set(...reviews());
    const joined = joinAll([first, second], variant);
    await joined.client.outbound("reviews:9080");
    first.stream.kill();
    void joined.client.outbound("other:1").catch(() => {});
    await passUntil(
      first,
      joined,
      () => first.streams.length === 2 && first.stream.subscribed(typeUrls.listener).size === 2,
    );
    expect(second.streams).toEqual([]);
  });

  test("an error is told only when all servers have failed", async () => {
    const refuse = { authorize: () => ({ code: 7, details: "not you" }) };
    const [first, second] = [await adsServer(refuse), await adsServer(refuse)];
    const { client } = joinAll([first, second], variant);
    await expect(client.outbound("reviews:9080")).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringContaining(second.address),
    });
  });

  test("closing closes all of them", async () => {
    const [first, second] = [await adsServer(), await adsServer({ manual: true })];
    await first.stop();
    const { client, env } = joinAll([first, second], variant);
    void client.outbound("reviews:9080").catch(() => {});
    await second.until(() => second.stream.requests.length > 0);
    await client.close();
    await second.until(() => second.streams.every((stream) => stream.ended));
    expect(env.clock.pending).toBe(0);
  });
});
