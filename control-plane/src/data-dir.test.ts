import * as fs from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";

import { tempDir } from "../test/kit/temp-dir.ts";
import { createDirOnce, createFileOnce, makePrivateDir, readIfPresent } from "./data-dir.ts";

// A disk cannot be filled in a test: writes fail as they would then.
const failing = vi.hoisted(() => ({ errno: undefined as string | undefined }));
vi.mock("node:fs", async (original) => {
  const real = await original<typeof fs>();
  return {
    ...real,
    writeSync: (...args: Parameters<typeof real.writeSync>) => {
      if (failing.errno !== undefined) throw Object.assign(new Error(failing.errno), { code: failing.errno });
      return real.writeSync(...args);
    },
  };
});
beforeEach(() => void (failing.errno = undefined));

describe("the data directory", () => {
  test.each([
    ["ENOSPC", "DISK_FULL"],
    ["EDQUOT", "DISK_FULL"],
    ["EACCES", "PERMISSION"],
    ["EROFS", "PERMISSION"],
    ["EIO", "DATA_DIR"],
  ])("%s is told as %s, and nothing half is left behind", (errno, code) => {
    const dir = tempDir();
    failing.errno = errno;
    expect(() => createFileOnce(join(dir, "key"), "secret")).toThrow(expect.objectContaining({ code }));
    expect(() => createDirOnce(join(dir, "ca"), { key: "secret" })).toThrow(expect.objectContaining({ code }));
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test("files are private and never replaced", () => {
    const dir = tempDir();
    expect(createFileOnce(join(dir, "key"), "first")).toBe(true);
    expect(createFileOnce(join(dir, "key"), "second")).toBe(false);
    expect(readIfPresent(join(dir, "key"))).toBe("first");
    expect(fs.statSync(join(dir, "key")).mode & 0o777).toBe(0o600);
    expect(createDirOnce(join(dir, "ca"), { key: "first" })).toBe(true);
    expect(createDirOnce(join(dir, "ca"), { key: "second" })).toBe(false);
    expect(readIfPresent(join(dir, "ca", "key"))).toBe("first");
    expect(fs.readdirSync(dir).sort()).toEqual(["ca", "key"]);
  });

  test("folders above are made, for the owner alone; a file in the way is told", () => {
    const dir = tempDir();
    makePrivateDir(join(dir, "a", "b", "c"));
    makePrivateDir(join(dir, "a", "b", "c"));
    expect(fs.statSync(join(dir, "a", "b")).mode & 0o777).toBe(0o700);
    createFileOnce(join(dir, "file"), "");
    for (const path of [join(dir, "file"), join(dir, "file", "below")])
      expect(() => makePrivateDir(path)).toThrow(expect.objectContaining({ code: "DATA_DIR" }));
  });

  test("what is not there is undefined, what cannot be read is told", () => {
    const dir = tempDir();
    expect(readIfPresent(join(dir, "nothing"))).toBeUndefined();
    expect(() => readIfPresent(dir)).toThrow(expect.objectContaining({ code: "DATA_DIR" }));
  });
});
