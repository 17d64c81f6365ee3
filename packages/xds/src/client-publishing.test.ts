import { afterEach, expect, test } from "vitest";

import { adsServer, join, leaveWorld, reviews } from "../test/client-world.ts";

afterEach(leaveWorld);

test("nobody is told of a configuration that is still on its way into force, whatever happens meanwhile", async () => {
  const server = await adsServer();
  server.set(...reviews());
  const gate = Promise.withResolvers<void>();
  const { client, configs } = join(server, {
    onConfig: (config) => {
      configs.push(config);
      return gate.promise;
    },
  });
  let found = false;
  const asked = client.outbound("reviews:9080").then(() => (found = true));
  await server.until(() => configs.length === 1);
  // Another name makes the client look at everything anew.
  const other = client.outbound("ratings:9080");
  await new Promise((resolve) => setImmediate(resolve));
  expect(found).toBe(false);
  gate.resolve();
  await asked;
  client.release("ratings:9080");
  await other.catch(() => {});
});
