import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";

import { ControlPlaneError, type ControlPlaneErrorCode } from "./errors.ts";

/** Makes the folder and those above it if need be, for its owner alone. */
export function makePrivateDir(path: string): void {
  guardFiles("make the folder", path, () => makeDir(resolve(path)));
}

/** Not `recursive: true`: where a file system answers ENOENT to every mkdir, as /proc does, Node then never returns. */
function makeDir(path: string): void {
  if (tryMakeDir(path)) return;
  makeDir(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

/** False if the folder above is missing. */
function tryMakeDir(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" && !existsSync(dirname(path))) return false;
    if (errno !== "EEXIST" || !statSync(path).isDirectory()) throw error;
  }
  return true;
}

/** The text of a file, or `undefined` if there is none. */
export function readIfPresent(path: string): string | undefined {
  return guardFiles("read", path, () => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  });
}

/**
 * Makes several files at once, or none: they are written aside and appear together by one rename, so that a crash never
 * leaves a key without its certificate. Returns false if another process was first.
 */
export function createDirOnce(path: string, files: Readonly<Record<string, string>>): boolean {
  const aside = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  return guardFiles("write", path, () => {
    try {
      mkdirSync(aside, { mode: 0o700 });
      for (const [name, text] of Object.entries(files)) writeSynced(`${aside}/${name}`, text);
      syncDir(aside);
      renameSync(aside, path);
      syncDir(dirname(path));
      return true;
    } catch (error) {
      rmSync(aside, { recursive: true, force: true });
      if (errnoOf(error) === "ENOTEMPTY" || errnoOf(error) === "EEXIST") return false;
      throw error;
    }
  });
}

/** Makes one private file whole or not at all. Returns false if another process was first. */
export function createFileOnce(path: string, text: string): boolean {
  const aside = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  return guardFiles("write", path, () => {
    try {
      writeSynced(aside, text);
      // A link, unlike a rename, never replaces what is there.
      linkSync(aside, path);
      syncDir(dirname(path));
      return true;
    } catch (error) {
      if (errnoOf(error) === "EEXIST") return false;
      throw error;
    } finally {
      rmSync(aside, { force: true });
    }
  });
}

function writeSynced(path: string, text: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDir(path: string): void {
  const dir = openSync(path, "r");
  try {
    fsyncSync(dir);
  } finally {
    closeSync(dir);
  }
}

/** The one place where errors of the file system become ours. */
export function guardFiles<T>(doing: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const [code, remedy] = remedies[errno] ?? ["DATA_DIR", "choose another data directory"];
    throw new ControlPlaneError(code, `cannot ${doing} ${path}: ${errno}; ${remedy}`, error);
  }
}

const remedies: Readonly<Record<string, readonly [ControlPlaneErrorCode, string]>> = {
  ENOSPC: ["DISK_FULL", "make room on that file system"],
  EDQUOT: ["DISK_FULL", "make room within this user's quota"],
  EACCES: ["PERMISSION", "give this user the right to it, or choose another data directory"],
  EPERM: ["PERMISSION", "give this user the right to it, or choose another data directory"],
  EROFS: ["PERMISSION", "it lies on a read-only file system: choose another data directory"],
};

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
