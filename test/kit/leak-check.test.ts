import { createServer } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, expect, it } from "vitest";
import { leakCheck } from "./leak-check.ts";

let check: () => Promise<void>;
beforeAll(() => {
  check = leakCheck();
});
afterAll(() => check());

it("says what was left open, and is content when it is closed", async () => {
  const closed = leakCheck(50);
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  await expect(closed()).rejects.toThrow("TCPServerWrap ×1");
  server.close();
  await once(server, "close");
  await closed();
});
