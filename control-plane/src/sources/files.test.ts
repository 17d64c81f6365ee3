import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { type FileSet, FileSource, fileTiming } from "./files.ts";

let folder: string;
let source: FileSource | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "trama-files-"));
});

afterEach(async () => {
  await source?.close();
  source = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** The next set of which something holds; the present one counts. */
function until(what: (set: FileSet) => boolean): Promise<FileSet> {
  const { sets } = source ?? expect.fail("not started");
  if (sets.value !== undefined && what(sets.value)) return Promise.resolve(sets.value);
  return new Promise((resolve) => {
    const end = sets.subscribe((set) => {
      if (set === undefined || !what(set)) return;
      end();
      resolve(set);
    });
  });
}

function text(set: FileSet, name: string): string | undefined {
  const state = set.files.get(join(folder, name));
  return state !== undefined && "text" in state ? state.text : undefined;
}

function fault(set: FileSet, name: string): string | undefined {
  const state = set.files.get(join(folder, name));
  return state !== undefined && "fault" in state ? state.fault : undefined;
}

test("YAML files of the folder and below it, and nothing else", async () => {
  await mkdir(join(folder, "sub"));
  await mkdir(join(folder, ".git"));
  await writeFile(join(folder, "a.yaml"), "a");
  await writeFile(join(folder, "sub", "b.yml"), "b");
  await writeFile(join(folder, "readme.md"), "c");
  await writeFile(join(folder, ".a.yaml.swp.yaml"), "d");
  await writeFile(join(folder, ".git", "e.yaml"), "e");
  source = new FileSource([`${folder}/`]);
  const set = await until(() => true);
  expect(set.complete).toBe(true);
  expect([...set.files.keys()].sort()).toEqual([join(folder, "a.yaml"), join(folder, "sub", "b.yml")]);
});

test("written, renamed over, removed, in a new folder: each is seen", async () => {
  source = new FileSource([folder]);
  await until(() => true);
  await writeFile(join(folder, "a.yaml"), "1");
  await until((set) => text(set, "a.yaml") === "1");
  await writeFile(join(folder, "a.yaml.tmp"), "2");
  await rename(join(folder, "a.yaml.tmp"), join(folder, "a.yaml"));
  await until((set) => text(set, "a.yaml") === "2");
  await mkdir(join(folder, "sub"));
  await writeFile(join(folder, "sub", "b.yaml"), "3");
  await until((set) => text(set, "sub/b.yaml") === "3");
  await rm(join(folder, "a.yaml"));
  await until((set) => set.files.size === 1);
});

test("without any sign from the file system, looking again finds it", async () => {
  const at = join(folder, "later");
  source = new FileSource([at], { ...fileTiming, rescanMs: 20 });
  const missing = await until(() => true);
  expect(missing.complete).toBe(false);
  expect(missing.diagnostics[0]?.message).toContain("cannot be read");
  await mkdir(at);
  await writeFile(join(at, "a.yaml"), "1");
  await until((set) => set.complete && text(set, "later/a.yaml") === "1");
  // Gone again: what it held stays.
  await rm(at, { recursive: true });
  const gone = await until((set) => !set.complete);
  expect(text(gone, "later/a.yaml")).toBe("1");
});

test("an emptied file is waited for", async () => {
  await writeFile(join(folder, "a.yaml"), "full");
  source = new FileSource([folder], { ...fileTiming, emptiedMs: 3_600_000 });
  await until((set) => text(set, "a.yaml") === "full");
  await truncate(join(folder, "a.yaml"));
  await writeFile(join(folder, "b.yaml"), "other");
  const set = await until((next) => text(next, "b.yaml") === "other");
  expect(text(set, "a.yaml")).toBe("full");
});

test("links are followed inside the folder only", async () => {
  const outside = await mkdtemp(join(tmpdir(), "trama-outside-"));
  try {
    await writeFile(join(outside, "secret.yaml"), "secret");
    await mkdir(join(folder, "..data"));
    await writeFile(join(folder, "..data", "real.yaml"), "inside");
    await symlink(join("..data", "real.yaml"), join(folder, "a.yaml"));
    await symlink(join(outside, "secret.yaml"), join(folder, "b.yaml"));
    await symlink("nowhere.yaml", join(folder, "c.yaml"));
    await symlink(outside, join(folder, "d.yaml"));
    source = new FileSource([folder]);
    const set = await until(() => true);
    expect(text(set, "a.yaml")).toBe("inside");
    expect(fault(set, "b.yaml")).toBe("is a link that leads out of the folder: copy the file here");
    expect(fault(set, "c.yaml")).toMatch(/^is a link that leads nowhere/);
    expect(fault(set, "d.yaml")).toBe("is a link that leads out of the folder: copy the file here");
  } finally {
    await rm(outside, { recursive: true });
  }
});

test("too large, and not UTF-8", async () => {
  await writeFile(join(folder, "large.yaml"), "x".repeat((1 << 20) + 1));
  await writeFile(join(folder, "latin.yaml"), Uint8Array.of(0x61, 0xe4, 0x62));
  source = new FileSource([folder]);
  const set = await until(() => true);
  expect(fault(set, "large.yaml")).toBe("is larger than 1048576 bytes: divide it");
  expect(fault(set, "latin.yaml")).toBe("is not UTF-8 text: save it as UTF-8");
});

test("a change that comes while the folder is being read is not left for later", async () => {
  for (let n = 0; n < 200; n++) await writeFile(join(folder, `${n}.yaml`), "x");
  // Without a sign, nothing would be looked at again within this test.
  source = new FileSource([folder], { ...fileTiming, rescanMs: 3_600_000 });
  await until((set) => set.files.size === 200);
  for (let n = 0; n < 20; n++) {
    await writeFile(join(folder, "7.yaml"), `version ${n}`);
    if (n % 5 === 4) await until((set) => text(set, "7.yaml") === `version ${n}`);
  }
});

test("S22: however long it does not become quiet, what changed is read within a bound", async () => {
  await writeFile(join(folder, "a.yaml"), "before");
  source = new FileSource([folder], { ...fileTiming, quietMs: 3_600_000, longestMs: 50, rescanMs: 3_600_000 });
  await until((set) => text(set, "a.yaml") === "before");
  await writeFile(join(folder, "a.yaml"), "after");
  await until((set) => text(set, "a.yaml") === "after");
});

test("a pipe is not opened", async () => {
  execFileSync("mkfifo", [join(folder, "a.yaml")]);
  source = new FileSource([folder]);
  const set = await until(() => true);
  expect(fault(set, "a.yaml")).toBe("is no regular file: remove it from the folder");
});
