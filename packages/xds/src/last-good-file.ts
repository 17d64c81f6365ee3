import fs from "node:fs";

import type { LastGoodStore } from "./last-good.ts";
import { writeWhole } from "./whole-file.ts";

/** More than this is not read into memory, whoever wrote it. */
const maxFileBytes = 256 * 1024 * 1024;

/**
 * Keeps the last good configuration in one file, for the owner only: it says who may call whom. What is there is always whole. What others
 * could have written is not believed.
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
    save: (bytes) => writeWhole(path, bytes),
  };
}
