import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** What a writer that was killed left behind is removed by the next that is done this much later; one that lives takes seconds at most. */
const staleMs = 600_000;

/**
 * Replaces a file, wholly or not at all, for the owner only: a new file is written, synced and renamed. Whenever the process is killed, the
 * path holds what it held before or what is written now. Folders that are missing are made, for the owner only too.
 */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  await makeFolder(resolve(dirname(path)));
  const temporary = `${path}.${randomUUID()}`;
  let writtenMs: number;
  try {
    const file = await fs.promises.open(temporary, "wx", 0o600);
    try {
      await file.writeFile(content);
      // A full disk may say so only here.
      await file.sync();
      writtenMs = (await file.stat()).mtimeMs;
    } finally {
      await file.close();
    }
    await fs.promises.rename(temporary, path);
  } catch (error) {
    await fs.promises.rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
  // What is written is written, whatever becomes of this.
  await sweep(path, writtenMs - staleMs).catch(() => {});
}

/** Not `recursive: true`: where a file system answers ENOENT to every mkdir, as /proc does, Node then never returns, and the process never ends. */
async function makeFolder(path: string): Promise<void> {
  if (await madeFolder(path)) return;
  await makeFolder(dirname(path));
  await fs.promises.mkdir(path, { mode: 0o700 }).catch(async (error: NodeJS.ErrnoException) => {
    // Another process was faster.
    if (error.code !== "EEXIST" || !(await isFolder(path))) throw error;
  });
}

/** False if the folder above is missing. */
async function madeFolder(path: string): Promise<boolean> {
  try {
    await fs.promises.mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && !(await isFolder(dirname(path)))) return false;
    // Systems differ in what they say of a folder that is there and cannot be made: EEXIST, EROFS, EACCES.
    if (code === "ENOENT" || !(await isFolder(path))) throw error;
  }
  return true;
}

async function isFolder(path: string): Promise<boolean> {
  return fs.promises.stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function sweep(path: string, beforeMs: number): Promise<void> {
  const folder = dirname(path);
  const own = `${basename(path)}.`;
  for (const name of await fs.promises.readdir(folder)) {
    if (!name.startsWith(own) || !/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/.test(name.slice(own.length))) continue;
    const stale = join(folder, name);
    const { mtimeMs } = await fs.promises.stat(stale);
    if (mtimeMs < beforeMs) await fs.promises.rm(stale, { force: true });
  }
}
