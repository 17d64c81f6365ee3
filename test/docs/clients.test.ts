import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http2 from "node:http2";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startMesh, type TestMesh } from "../e2e/harness/mesh.ts";
import { serviceEntry } from "../e2e/harness/yaml.ts";

// The snippets of docs/clients.md: all clients in one process, all servers in another, each snippet in a scope of its own.

const root = fileURLToPath(new URL("../../", import.meta.url));
const programs: ChildProcess[] = [];
let mesh: TestMesh;
let folder: string;
let page: string;

beforeAll(async () => {
  page = await readFile(join(root, "docs/clients.md"), "utf8");
  folder = await mkdtemp(join(root, "test/docs/.snippet-"));
  mesh = await startMesh({
    yaml: { "services.yaml": [serviceEntry("catalog", "shop"), serviceEntry("chat", "shop"), store].join("---\n") },
  });
}, 30_000);

afterAll(async () => {
  for (const program of programs) {
    if (program.exitCode !== null || program.signalCode !== null) continue;
    program.kill("SIGKILL");
    await once(program, "exit");
  }
  await mesh?.close();
  await rm(folder, { recursive: true, force: true });
});

const store = serviceEntry("store", "shop").replace(
  "8080, name: http, protocol: HTTP",
  "5432, name: tcp, protocol: TCP",
);

/** Snippets by the words behind their fence. */
function snippets(kind: string): { readonly code: string; readonly words: readonly string[] }[] {
  return [...page.matchAll(/```ts ([a-z0-9 -]+)\n([\s\S]*?)```/g)]
    .map(([, words, code]) => ({ code: code!, words: words!.split(" ") }))
    .filter(({ words }) => words[0] === kind);
}

/** Imports on top, for they can stand nowhere else, and each snippet in a scope of its own. */
async function program(name: string, kind: string): Promise<string> {
  const [join_] = snippets("join");
  const parts = snippets(kind).map(({ code }) => code);
  const importLine = /^import .*\n/gm;
  const imports = new Set([join_!.code, ...parts].flatMap((code) => code.match(importLine) ?? []));
  const bodies = parts.map((code) => `await (async () => {\n${code.replaceAll(importLine, "")}})();\n`);
  const file = join(folder, name);
  await writeFile(file, [...imports, join_!.code.replaceAll(importLine, ""), ...bodies].join(""));
  return file;
}

async function run(
  file: string,
  account: string,
): Promise<{ readonly child: ChildProcess; readonly output: () => string }> {
  const child = fork(file, {
    execArgv: ["--conditions=trama-source", "--import", new URL("report-port.mjs", import.meta.url).href],
    env: { ...process.env, ...(await mesh.environment({ account }, account)) },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  programs.push(child);
  let output = "";
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return { child, output: () => output };
}

it("every client of the page calls, and every server serves", { timeout: 60_000 }, async () => {
  const servers = snippets("server");
  expect(servers.length).toBeGreaterThan(6);
  const served = await run(await program("servers.ts", "server"), "chat");
  const ports: number[] = [];
  await new Promise<void>((resolve, reject) => {
    served.child.on("message", ({ port }: { port: number }) => {
      if (ports.push(port) === servers.length) resolve();
    });
    served.child.on("exit", () => reject(new Error(served.output())));
  });
  for (const [i, { words, code }] of servers.entries()) {
    const port = ports[i]!;
    if (code.includes("bindAsync") || words.includes("tcp")) continue;
    const text = words.includes("http2")
      ? await overHttp2(port)
      : await (await fetch(`http://127.0.0.1:${port}/`)).text();
    expect(text, code).toMatch(/^served/);
  }
  // The page's own chat, for its own WebSocket.
  const chat = servers.findIndex(({ code }) => code.includes("WebSocketServer"));
  await mesh.register({
    name: "chat-v1",
    app: "chat",
    version: "v1",
    namespace: "shop",
    account: "chat",
    port: ports[chat]!,
  });
  await mesh.register({
    name: "store-v1",
    app: "store",
    version: "v1",
    namespace: "shop",
    account: "chat",
    port: ports[servers.findIndex(({ words }) => words.includes("tcp"))]!,
    portName: "tcp",
  });
  await mesh.service({ app: "catalog" });

  const { child, output } = await run(await program("clients.ts", "client"), "storefront");
  // No snippet ends the process; the last one has had its answer.
  await expect
    .poll(() => (output().includes("/stream") || child.exitCode !== null ? output() : ""), { timeout: 20_000 })
    .toContain("/stream");
  for (const said of [
    "/fetch",
    "/undici",
    "/agent",
    "/pool",
    "/http",
    "/axios",
    "/got",
    "/global",
    "/patched",
    "hello",
    "/connect",
  ])
    expect(output()).toContain(said);
  expect(output()).toContain("spiffe://cluster.local/ns/shop/sa/storefront");
  expect(served.output()).toContain("connected: spiffe://cluster.local/ns/shop/sa/storefront");
  // No deprecation, no warning: a newcomer's terminal stays quiet.
  expect(output() + served.output()).not.toMatch(/warning/i);
  expect(snippets("not-run")).toHaveLength(1);
});

async function overHttp2(port: number): Promise<string> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({ ":path": "/", ":authority": "localhost" });
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    return text;
  } finally {
    session.close();
  }
}
