import { createServer } from "node:http";
import { connect } from "node:net";
import { Admission } from "@trama/engine";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { fakeClock } from "../../../test/kit/clock.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { type ServerWorld, serverWorld } from "./server-world.ts";

let noLeaks: () => Promise<void>;
let world: ServerWorld;
let handled = 0;
const config = { loopDelayMs: 100, utilization: undefined, concurrency: undefined, exempt: ["/healthz"] };
const admission = new Admission(config, { clock: fakeClock(), random: () => 0.5 });

beforeAll(async () => {
  noLeaks = leakCheck();
  const server = createServer((_request, response) => {
    handled++;
    response.end("fine");
  });
  world = await serverWorld(server, { identity: testIdentity(makeCertificate("root"), "shop", "web"), admission });
  world.publish("PERMISSIVE");
});
afterAll(async () => {
  await world.close();
  await noLeaks();
});

/** Head of a request whose body never comes, and what is answered first. */
function ask(head: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(world.port, "127.0.0.1", () => socket.write(`${head}\r\nhost: web\r\n\r\n`));
    socket.on("error", reject);
    socket.once("data", (data: Buffer) => {
      resolve(data.toString());
      socket.destroy();
    });
  });
}

test("an overloaded server refuses before the body and the handler, and not who asks for its health", async () => {
  admission.onLoad(1_000, 1);
  const refused = await ask("POST /orders HTTP/1.1\r\ncontent-length: 1000000");
  expect(refused).toMatch(/^HTTP\/1\.1 503 /);
  expect(refused.toLowerCase()).toContain("x-envoy-overloaded: true");
  expect(handled).toBe(0);
  expect(world.ended.at(-1)?.record).toMatchObject({ status: 503, flag: "OM" });
  expect(await ask("GET /healthz HTTP/1.1")).toMatch(/^HTTP\/1\.1 200 /);
  admission.onLoad(0, 0);
  expect(await ask("GET /orders HTTP/1.1")).toMatch(/^HTTP\/1\.1 200 /);
});
