import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";

/**
 * Fail-over between regions, as `npm run demo:regions` shows it. Its own verdict on p99 is left to a quiet machine; here other tests run beside it,
 * and a process may get no turn for half a second, so its times are five times as long.
 */

let demo: ChildProcess | undefined;
afterAll(async () => {
  if (demo !== undefined && demo.exitCode === null && demo.signalCode === null) {
    demo.kill("SIGTERM");
    await once(demo, "exit");
  }
  await expectNoLeaks();
});

test("a region dies, and another grows slow: the next one stands in, no request fails, and traffic comes back", async () => {
  const file = fileURLToPath(new URL("../../examples/bookshop/regions.ts", import.meta.url));
  demo = spawn(process.execPath, ["--conditions=trama-source", file, "--seconds", "6", "--stretch", "5", "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, errors] = ["", ""];
  demo.stdout!.on("data", (chunk: Buffer) => (out += chunk.toString()));
  demo.stderr!.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  await once(demo, "close");
  expect(out, errors).toContain("{");
  const { healthy, died, slow, backMs, failed } = JSON.parse(out) as Report;
  expect(failed, errors).toBe(0);
  for (const phase of [healthy, died, slow]) expect(phase.requests).toBeGreaterThan(100);
  for (const ms of [died.movedMs, slow.movedMs, backMs.afterDeath, backMs.afterSlowness])
    expect(ms, out).not.toBeNull();
  // It mostly waits: three phases, and for what was ejected to be tried again.
}, 150_000);

/** What of it matters here; what never came is `null` in JSON. */
interface Report {
  readonly healthy: { readonly requests: number };
  readonly died: { readonly requests: number; readonly movedMs: number | null };
  readonly slow: { readonly requests: number; readonly movedMs: number | null };
  readonly backMs: { readonly afterDeath: number | null; readonly afterSlowness: number | null };
  readonly failed: number;
}
