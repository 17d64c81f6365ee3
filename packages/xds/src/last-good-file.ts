import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { dirname } from "node:path";

import type { LastGoodStore } from "./last-good.ts";

/** More than this is not read into memory, whoever wrote it. */
const maxFileBytes = 256 * 1024 * 1024;

/**
 * Keeps the last good configuration in one file, for the owner only: it says who may call whom. A new file is written, synced and
 * renamed, so what is there is always whole. What others could have written is not believed.
 */
export function fileLastGood(path: string): LastGoodStore {
  return {
    async load() {
      const file = await fs.promises.open(path, "r").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw error;
      });
      if (file === undefined) return undefined;
      try {
        const { size, mode, uid } = await file.stat();
        if (size > maxFileBytes) throw new Error(`${path} has ${size} bytes`);
        const own = process.getuid?.();
        if (own !== undefined && (uid !== own || (mode & 0o022) !== 0)) {
          throw new Error(`${path} could have been written by others; it must belong to this user, with mode 0600`);
        }
        return await file.readFile();
      } finally {
        await file.close();
      }
    },
    async save(bytes) {
      await fs.promises.mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const temporary = `${path}.${randomUUID()}`;
      try {
        const file = await fs.promises.open(temporary, "wx", 0o600);
        try {
          await file.writeFile(bytes);
          // A full disk may say so only here.
          await file.sync();
        } finally {
          await file.close();
        }
        await fs.promises.rename(temporary, path);
      } catch (error) {
        await fs.promises.rm(temporary, { force: true }).catch(() => {});
        throw error;
      }
    },
  };
}
