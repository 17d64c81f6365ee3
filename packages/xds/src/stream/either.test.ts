import { typeUrls } from "@trama/proto";
import { afterEach, expect, test } from "vitest";

import { adsServer, join, leaveWorld, reviews } from "../../test/client-world.ts";

afterEach(leaveWorld);

test("a server without delta is asked for the state of the world, at once and on later streams; one log line", async () => {
  const server = await adsServer({ sotwOnly: true });
  server.set(...reviews());
  const { client, env } = join(server);
  await expect(client.outbound("reviews:9080")).resolves.toBe("found");
  expect(server.streams.map((stream) => stream.form)).toEqual(["sotw"]);
  expect(client.status()).toMatchObject({ connected: true, lastError: undefined });
  expect(env.logged.filter((one) => one.level === "warn")).toEqual([]);

  server.stream.kill();
  await server.until(() => !client.status().connected);
  server.remove(typeUrls.listener, "reviews:9080");
  env.clock.advance(1_000);
  await server.until(() => client.config.outbound.size === 0);
  expect(server.streams.map((stream) => stream.form)).toEqual(["sotw", "sotw"]);
  expect(env.logged.filter((one) => one.message.includes("state of the world"))).toHaveLength(1);
});

test("a refusal of another kind is no reason to change the form", async () => {
  let refuse = true;
  const server = await adsServer({ authorize: () => (refuse ? { code: 14, details: "not now" } : undefined) });
  server.set(...reviews());
  const { client, env } = join(server);
  const answer = client.outbound("reviews:9080");
  await server.until(() => client.status().lastError !== undefined);
  refuse = false;
  env.clock.advance(1_000);
  await expect(answer).resolves.toBe("found");
  expect(server.streams.map((stream) => stream.form)).toEqual(["delta", "delta"]);
});
