import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

/** In a process of its own: vitest's resolver gives Express an ES module where it requires a function. */
test("every adapter plays every scenario, or says why not", { timeout: 120_000 }, async () => {
  const main = join(import.meta.dirname, "main.ts");
  const { code, stdout } = await new Promise<{ code: unknown; stdout: string }>((resolve) => {
    execFile(process.execPath, ["--conditions=trama-source", main], (error, out) =>
      resolve({ code: error?.code ?? 0, stdout: out }),
    );
  });
  const lines = stdout.trim().split("\n");
  expect(lines.filter((line) => / fail(:|$)/.test(line))).toEqual([]);
  expect(code).toBe(0);
  expect(lines).toContain("grpc-client retry-on-unavailable pass");
  expect(lines).toContain("node:https upgrade pass");
  expect(lines).toContain("http2-native authorization-before-the-handler pass");
  expect(lines.length).toBeGreaterThan(240);
});
