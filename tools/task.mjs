// Runs a task of this workspace: `node tools/task.mjs <task> [arguments…]`.
//
// This is the only file that the machine's own Node runs, so it needs nothing but the built-ins of Node 18. It installs
// what the lockfile names (the Node that runs everything else included), generates the protobuf code, and starts the
// task with node_modules/.bin first in PATH. Set-up progress goes to stderr: stdout belongs to the task.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const caches = join(root, ".cache");
const requiredNode = 22;

/** Each task is a list of commands, run in order until one fails; extra arguments go to the last one. */
const tasks = {
  demo: [["node", "--conditions=trama-source", "examples/bookshop/demo.ts"]],
  "demo:regions": [["node", "--conditions=trama-source", "examples/bookshop/regions.ts"]],
  test: [["vitest", "run"]],
  check: [
    ["tsc", "-b"],
    ["oxlint", "--type-aware", "--deny-warnings"],
    ["oxfmt", "--check"],
  ],
  "conformance:adapters": [["node", "--conditions=trama-source", "test/conformance/adapters/main.ts"]],
  interop: [["node", "--conditions=trama-source", "test/interop/main.ts"]],
  bench: [["node", "--conditions=trama-source", "test/bench/main.ts"]],
  build: [
    ["tsc", "-b"],
    ["node", "tools/bundle.ts"],
  ],
  lint: [["oxlint", "--type-aware", "--deny-warnings"]],
  fmt: [["oxfmt", "--write"]],
  // The set-up has generated already what was out of date.
  generate: [],
  // Any command with this workspace's tools: `node tools/task.mjs exec node -v`.
  exec: [[]],
};

const [name = "", ...extra] = process.argv.slice(2);
const commands = Object.hasOwn(tasks, name) ? tasks[name] : undefined;
if (commands === undefined || (name === "exec" && extra.length === 0)) {
  process.stderr.write(`usage: node tools/task.mjs <${Object.keys(tasks).join("|")}> [arguments…]\n`);
  process.exit(2);
}
const env = cleanEnvironment();
setUp();
for (const [index, command] of commands.entries()) {
  const [file, ...args] = index === commands.length - 1 ? [...command, ...extra] : command;
  if (commands.length > 1) process.stderr.write(`· ${file}\n`);
  const code = await run(file, args);
  if (code !== 0) process.exit(code);
}

/** Our tools first in PATH, and none of the variables by which npm would configure the programs that it starts. */
function cleanEnvironment() {
  const copy = {};
  for (const [key, value] of Object.entries(process.env)) {
    if (!/^npm_(config|package|lifecycle)_/i.test(key) || /^npm_config_(cache|registry|userconfig)$/i.test(key))
      copy[key] = value;
  }
  copy.PATH = [bin, process.env.PATH ?? ""].join(delimiter);
  return copy;
}

function setUp() {
  if (upToDate()) return;
  const unlock = lock();
  try {
    install();
    generate();
  } finally {
    unlock();
  }
}

function upToDate() {
  return isFresh(installStamp, installHash()) && isFresh(protoStamp, protoHash());
}

/** Two tasks started at once must not install into the same folder: the second waits for the first. */
function lock() {
  const path = join(caches, "setup.lock");
  mkdirSync(caches, { recursive: true });
  for (let said = false; ;) {
    try {
      mkdirSync(path);
      writeFileSync(join(path, "pid"), String(process.pid));
      process.on("exit", () => rmSync(path, { recursive: true, force: true }));
      return () => rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (!isHeld(path)) {
      rmSync(path, { recursive: true, force: true });
      continue;
    }
    if (!said) progress("waiting for another task's set-up");
    said = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
}

function isHeld(path) {
  try {
    const pid = readFileSync(join(path, "pid"), "utf8");
    if (pid === "") return true;
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    // No pid file: its owner is between two system calls, or died there.
    if (error.code === "ENOENT") return existsSync(path) && Date.now() - statSync(path).mtimeMs < 2_000;
    return error.code === "EPERM";
  }
}

function install() {
  const wanted = installHash();
  if (isFresh(installStamp, wanted)) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  progress(`installing the dependencies with ${packageManager} (once, some seconds)`);
  // npx without our .bin in PATH: it runs on the machine's Node, which is there before the install.
  must("npx", ["--yes", packageManager, "install", "--frozen-lockfile"], { ...env, PATH: process.env.PATH });
  writeFileSync(installStamp(), wanted);
}

function generate() {
  const wanted = protoHash();
  if (isFresh(protoStamp, wanted)) return;
  progress("generating the protobuf code");
  must("node", [join(root, "packages/proto/generate.mjs")], env);
  writeFileSync(protoStamp(), wanted);
}

function installStamp() {
  return join(root, "node_modules", ".trama-install");
}

function installHash() {
  return hash(["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"]);
}

function protoStamp() {
  return join(root, "packages/proto/gen", ".stamp");
}

/** What the generated code depends on: our script and .proto files; the lockfile pins the rest. */
function protoHash() {
  return hash([
    "pnpm-lock.yaml",
    "packages/proto/generate.mjs",
    "packages/proto/generate-lean.mjs",
    "packages/proto/entries.txt",
    "packages/proto/lean.txt",
    ...filesBelow("packages/proto/proto"),
  ]);
}

function filesBelow(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]));
}

function hash(files) {
  const sum = createHash("sha256").update(`${process.platform} ${process.arch}\n`);
  for (const file of files) sum.update(`${file}\n`).update(readFileSync(join(root, file)));
  return sum.digest("hex");
}

function isFresh(stamp, wanted) {
  return existsSync(stamp()) && readFileSync(stamp(), "utf8") === wanted;
}

function progress(text) {
  process.stderr.write(`trama: ${text}\n`);
}

/** Runs a step of the set-up; its output goes to stderr, and its failure ends the program. */
function must(file, args, environment) {
  const { status, error } = spawnSync(file, args, { cwd: root, env: environment, stdio: ["ignore", 2, 2] });
  if (error !== undefined) progress(String(error));
  if (status === 0) return;
  progress(`failed: ${file} ${args.join(" ")}`);
  process.exit(status ?? 1);
}

/** Runs the task itself: it owns the terminal, gets our signals, and its exit code is ours. */
function run(file, args) {
  checkNode();
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: name === "exec" ? process.cwd() : root, env, stdio: "inherit" });
    const forward = (signal) => child.kill(signal);
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) process.on(signal, forward);
    child.on("error", (error) => {
      progress(String(error));
      resolve(127);
    });
    child.on("exit", (code, signal) => {
      for (const each of signals) process.off(each, forward);
      resolve(code ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

/** Where no package brings a Node (see optionalDependencies), the machine's own must be new enough. */
function checkNode() {
  if (existsSync(join(bin, "node")) || Number(process.versions.node.split(".")[0]) >= requiredNode) return;
  progress(`this platform needs Node >= ${requiredNode} to be installed; this is ${process.version}`);
  process.exit(1);
}
