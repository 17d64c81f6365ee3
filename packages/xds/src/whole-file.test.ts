import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { writeWhole } from "./whole-file.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "trama-whole-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytes = 1 << 20;

/** Writes a megabyte of 1s, of 2s, of 3s, … until it is killed, and says before each which it will be. */
const program = `
  const { writeWhole } = await import(process.argv[1]);
  for (let i = 1; ; i++) {
    process.stdout.write(i + "\\n");
    await writeWhole(process.argv[2], Buffer.alloc(${bytes}, i));
  }`;

test("a process killed while it writes leaves a whole file", async () => {
  const path = join(folder, "config");
  await writeWhole(path, Buffer.alloc(bytes, 0));
  const module = new URL("./whole-file.ts", import.meta.url).href;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program, module, path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
    if (said.includes("3\n")) child.kill("SIGKILL");
  });
  await once(child, "exit");
  const found = await readFile(path);
  expect(found.length).toBe(bytes);
  expect(found.equals(Buffer.alloc(bytes, found[0]))).toBe(true);
});

test("what a killed writer left is removed later, and what is not its own stays", async () => {
  const path = join(folder, "key.pem");
  const left = `${path}.0b6f2b2e-5d1a-4c57-9a0c-3f1f0d0e8a11`;
  const others = [`${path}.bak`, join(folder, "cert.pem.0b6f2b2e-5d1a-4c57-9a0c-3f1f0d0e8a11")];
  const beingWritten = `${path}.1c6f2b2e-5d1a-4c57-9a0c-3f1f0d0e8a11`;
  for (const each of [left, beingWritten, ...others]) await writeFile(each, "");
  for (const each of [left, ...others]) await utimes(each, 0, 0);
  await writeWhole(path, "text");
  const names = [path, beingWritten, ...others].map((each) => each.slice(folder.length + 1));
  expect(await readdir(folder)).toEqual(names.toSorted());
});

test("folders are made for the owner only", async () => {
  await writeWhole(join(folder, "a", "b", "config"), "text");
  for (const each of ["a", join("a", "b")]) expect((await stat(join(folder, each))).mode & 0o777).toBe(0o700);
});

test("a folder that cannot be made is an error at once", async () => {
  await symlink(join(folder, "nowhere"), join(folder, "dangling"));
  await expect(writeWhole(join(folder, "dangling", "deep", "config"), "text")).rejects.toThrow("EEXIST");
});

test.runIf(process.platform === "linux")("where the system answers ENOENT to every mkdir, too", async () => {
  await expect(writeWhole("/proc/trama/deep/config", "text")).rejects.toThrow("ENOENT");
});
