import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { fileLastGood } from "./last-good-file.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "trama-last-good-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a file for the owner only, whole, with nothing left beside it", async () => {
  const path = join(folder, "deep", "config");
  const store = fileLastGood(path);
  await expect(store.load()).resolves.toBeUndefined();
  await store.save(Buffer.from("one"));
  await store.save(Buffer.from("two"));
  expect(Buffer.from((await store.load()) ?? []).toString()).toBe("two");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, "deep"))).toEqual(["config"]);
});

test("what others could have written is not believed", async () => {
  const path = join(folder, "config");
  await writeFile(path, "one");
  await chmod(path, 0o666);
  await expect(fileLastGood(path).load()).rejects.toThrow("could have been written by others");
});

test("a place that cannot be written leaves what is there, and no rest", async () => {
  const path = join(folder, "config");
  await writeFile(join(folder, "file"), "");
  await expect(fileLastGood(join(folder, "file", "config")).save(Buffer.from("x"))).rejects.toThrow("EEXIST");
  await expect(fileLastGood(folder).save(Buffer.from("x"))).rejects.toThrow();
  await expect(fileLastGood(folder).load()).rejects.toThrow();
  expect(await readdir(folder)).toEqual(["file"]);
  await expect(fileLastGood(path).load()).resolves.toBeUndefined();
});
