import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { startMesh, type TestMesh } from "../e2e/harness/mesh.ts";
import { until } from "../e2e/harness/until.ts";
import { serviceEntry } from "../e2e/harness/yaml.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
let mesh: TestMesh | undefined;
let folder: string | undefined;
let snippet: ChildProcess | undefined;

afterAll(async () => {
  if (snippet !== undefined && snippet.exitCode === null) {
    snippet.kill("SIGKILL");
    await once(snippet, "exit");
  }
  await mesh?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

it("the service of the README runs as it stands", { timeout: 60_000 }, async () => {
  const readme = await readFile(join(root, "README.md"), "utf8");
  const code = /```ts\n(import express[\s\S]*?)```/.exec(readme)?.[1];
  expect(code?.trim().split("\n").length, "lines of code in the README").toBeLessThanOrEqual(13);

  mesh = await startMesh({ yaml: { "services.yaml": serviceEntry("catalog", "shop") } });
  await mesh.service({ app: "catalog" });

  // Where the packages that it imports are found, as in a user's project.
  folder = await mkdtemp(join(root, "examples/bookshop/.snippet-"));
  await writeFile(join(folder, "service.ts"), code!);
  let output = "";
  snippet = fork(join(folder, "service.ts"), {
    execArgv: ["--conditions=trama-source", "--import", new URL("report-port.mjs", import.meta.url).href],
    env: { ...process.env, PORT: "0", ...(await mesh.environment({ account: "storefront" }, "storefront")) },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  for (const stream of [snippet.stdout!, snippet.stderr!])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [{ port }] = (await Promise.race([
    once(snippet, "message"),
    once(snippet, "exit").then(() => Promise.reject(new Error(output))),
  ])) as [{ port: number }];

  // No policy says STRICT: a browser may ask in plaintext, and the catalog is asked over mutual TLS.
  const body = await until("the storefront answers what the catalog said", async () => {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    return response.ok ? await response.text() : undefined;
  });
  expect(body).toContain("spiffe://cluster.local/ns/shop/sa/storefront");
  // No deprecation, no warning: a newcomer's terminal stays quiet.
  expect(output).toBe("");
});
