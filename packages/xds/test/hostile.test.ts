import { typeUrls } from "@trama/proto";
import { afterEach, expect, test } from "vitest";

import type { Served, ServedStream } from "../../../test/kit/ads-server.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { adsServer, join, leaveWorld, reviews, weightsOf } from "./client-world.ts";

afterEach(leaveWorld);

// A control plane that says anything at all: nothing of it ends the process, takes away what is in force, or keeps the truth from being taken when it
// comes in the end. An uncaught exception fails the run.

test.each(["delta", "sotw"] as const)("%s", async (variant) => {
  const random = seededRandom(Number(process.env["TRAMA_FUZZ_SEED"] ?? 11));
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const server = await adsServer();
  server.set(...reviews());
  const { client, env } = join(server, { variant });
  await expect(client.outbound("reviews:9080")).resolves.toBe("found");
  await server.until(() => server.stream.acks.length === 4);

  const good = reviews().map((each) => server.wrap(each));
  const types = [...Object.values(typeUrls), "type.googleapis.com/envoy.config.unheard.v9.Of", "", "x".repeat(10_000)];
  const names = ["reviews:9080", "", "*", "other:1", "\u0000", "n".repeat(100_000), ...good.map(({ name }) => name)];
  const bytes = (): Uint8Array => {
    const whole = pick(good).resource!.value;
    if (random() < 0.3) return Uint8Array.from({ length: below(300) }, () => below(256));
    const changed = Uint8Array.from(whole);
    for (let i = below(6); i > 0; i--) changed[below(changed.length)] = below(256);
    return random() < 0.3 ? changed.subarray(0, below(changed.length)) : changed;
  };
  const anything = (stream: ServedStream): void => {
    const typeUrl = pick(types);
    const resources = Array.from({ length: below(4) }, () => {
      const served: Served = { typeUrl: pick([typeUrl, typeUrl, pick(types)]), name: pick(names), bytes: bytes() };
      // Sometimes a good one under another name, or twice.
      const wrapped = random() < 0.3 ? { ...pick(good), name: pick(names) } : server.wrap(served, pick(["", "1", "2"]));
      return wrapped;
    });
    // Deletions are a word that counts: of what nobody has, here.
    const removedResources = Array.from({ length: below(3) }, () => pick(["other:1", "", "n".repeat(100_000)]));
    stream.respond({ typeUrl, resources, removedResources });
  };
  for (let round = 0; round < 150; round++) {
    const { stream } = server;
    for (let i = 1 + below(4); i > 0; i--) anything(stream);
    // When this is answered, everything before was taken or refused: routes that are not named mean nothing, in both forms.
    const nonce = stream.respond({ typeUrl: typeUrls.routeConfiguration, resources: [] });
    await server.until(() => {
      env.clock.advance(1_000);
      return stream.ended || stream.acks.includes(nonce) || stream.nacks.some((nack) => nack.nonce === nonce);
    });
    for (const { message } of stream.nacks) expect(message.length).toBeLessThan(20_000);
  }
  // The truth, under a version that was not used yet.
  server.set(...reviews({ "outbound|9080|v1|reviews.shop.svc.cluster.local": 7 }));
  await server.until(() => {
    env.clock.advance(1_000);
    return JSON.stringify(weightsOf(client.config)) === "[7]";
  });
  expect(client.config.clusters.size).toBeGreaterThan(0);
});
