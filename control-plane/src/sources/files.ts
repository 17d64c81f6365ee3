import { type Dirent, type FSWatcher, watch as watchFolder } from "node:fs";
import { open, readdir, realpath, stat } from "node:fs/promises";
import { sep } from "node:path";

import type { Diagnostic } from "../diagnostics.ts";
import { Watch } from "../watch.ts";

/** A file as it was found: its text, or why there is none. */
export type FileState = { readonly text: string } | { readonly fault: string };

/** What lies in the folders. */
export interface FileSet {
  /** Every folder could be read; before the first set of which this holds, nothing may be served (S25). */
  readonly complete: boolean;
  readonly files: ReadonlyMap<string, FileState>;
  readonly diagnostics: readonly Diagnostic[];
}

export interface FileTiming {
  /** After the last sign of a change. */
  readonly quietMs: number;
  /** After the first sign, however many follow (S22). */
  readonly longestMs: number;
  /** A file younger than this may still be in the middle of being written. */
  readonly settleMs: number;
  /** An emptied file is more often one that is about to be written than one that is meant to be empty. */
  readonly emptiedMs: number;
  /** Looking again without a sign: file systems that send none, and signs that were lost. */
  readonly rescanMs: number;
}

export const fileTiming: FileTiming = { quietMs: 20, longestMs: 250, settleMs: 20, emptiedMs: 1_000, rescanMs: 2_000 };

const bounds = { fileBytes: 1 << 20, files: 10_000, depth: 8 } as const;

/** A file as last seen. */
interface Known {
  readonly signature: string;
  readonly state: FileState;
}

/** A file that was found, before it is read. */
interface Found {
  readonly path: string;
  readonly fault: string | undefined;
}

/**
 * Reads all `*.yaml` and `*.yml` of some folders and what is below them, and tells the whole set whenever it changed. Names
 * that begin with a dot are left alone: editors' and Kubernetes' own. Links are followed inside the folder only.
 */
export class FileSource {
  readonly sets: Watch<FileSet | undefined> = new Watch<FileSet | undefined>(undefined);
  readonly #folders: readonly string[];
  readonly #timing: FileTiming;
  readonly #watchers = new Map<string, FSWatcher>();
  #known = new Map<string, Known>();
  #timer: NodeJS.Timeout | undefined;
  /** When the change that is being waited for was first seen. */
  #firstSign: number | undefined;
  #scanning: Promise<void> | undefined;
  /** A sign came while a scan was going on: that scan may have looked too early. */
  #again = false;
  #closed = false;

  constructor(folders: readonly string[], timing: FileTiming = fileTiming) {
    this.#folders = folders.map((folder) => folder.replace(/(?<=.)[/\\]+$/, ""));
    this.#timing = timing;
    this.#start();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#scanning;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #sign(): void {
    if (this.#closed) return;
    this.#firstSign ??= Date.now();
    if (this.#scanning !== undefined) {
      this.#again = true;
      return;
    }
    const left = this.#firstSign + this.#timing.longestMs - Date.now();
    this.#schedule(Math.max(0, Math.min(this.#timing.quietMs, left)));
  }

  #schedule(ms: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#start(), ms);
    this.#timer.unref();
  }

  /** One scan at a time; none is scheduled while one is going on. */
  #start(): void {
    if (this.#closed) return;
    this.#again = false;
    this.#scanning = this.#scan()
      // Whatever a file system may come up with: look again later.
      .catch(() => this.#timing.rescanMs)
      .then((waitMs) => {
        this.#scanning = undefined;
        this.#schedule(this.#again ? Math.min(waitMs, this.#timing.quietMs) : waitMs);
      });
  }

  /** Returns after how long to look again. */
  async #scan(): Promise<number> {
    const started = Date.now();
    const diagnostics: Diagnostic[] = [];
    const seen = new Map<string, Known>();
    const folders = new Set<string>();
    let unsettled = false;
    let complete = true;
    for (const folder of this.#folders) {
      // Watched before it is read: what changes in between is seen by the one or the other.
      const visit = (each: string): void => {
        folders.add(each);
        this.#watch(each, diagnostics);
      };
      const found = await list(folder, visit).catch((error: unknown) => `cannot be read: ${reason(error)}`);
      if (typeof found === "string") {
        diagnostics.push(faultAt(folder, `${found}; what it held before stays in force`));
        // A folder that vanished is a fault, not the wish to have nothing.
        for (const [path, known] of this.#known) if (path.startsWith(folder + sep)) seen.set(path, known);
        complete = false;
        continue;
      }
      for (const file of found) {
        const state = await this.#look(file);
        if (state === "unsettled") unsettled = true;
        const known = state === "unsettled" ? this.#known.get(file.path) : state;
        if (known !== undefined) seen.set(file.path, known);
        else if (state === "unsettled")
          seen.set(file.path, { signature: "", state: { fault: "is still being written" } });
      }
    }
    this.#unwatchAllBut(folders);
    const waiting = this.#firstSign ?? started;
    if (unsettled && started - waiting < this.#timing.longestMs) {
      this.#firstSign = waiting;
      return this.#timing.settleMs;
    }
    this.#firstSign = this.#again ? Date.now() : undefined;
    this.#publish(seen, diagnostics, complete);
    return unsettled ? this.#timing.settleMs : this.#timing.rescanMs;
  }

  #publish(seen: Map<string, Known>, diagnostics: readonly Diagnostic[], complete: boolean): void {
    const last = this.sets.value;
    const same =
      last !== undefined &&
      seen.size === this.#known.size &&
      [...seen].every(([path, { state }]) => this.#known.get(path)?.state === state) &&
      JSON.stringify(diagnostics) === JSON.stringify(last.diagnostics);
    this.#known = seen;
    if (same || this.#closed) return;
    this.sets.set({ complete, files: new Map([...seen].map(([path, { state }]) => [path, state])), diagnostics });
  }

  /** Reads a file unless it is as it was; never one that changes under the hands. */
  async #look({ path, fault }: Found): Promise<Known | "unsettled"> {
    const known = this.#known.get(path);
    if (fault !== undefined) return keep(known, `fault ${fault}`, { fault });
    let handle;
    try {
      handle = await open(path, "r");
      const before = await handle.stat({ bigint: true });
      const signature = `${before.dev} ${before.ino} ${before.size} ${before.mtimeNs} ${before.ctimeNs}`;
      if (known?.signature === signature) return known;
      const wasFull = known !== undefined && "text" in known.state && known.state.text !== "";
      const least = before.size === 0n && wasFull ? this.#timing.emptiedMs : this.#timing.settleMs;
      const age = Date.now() - Number(before.mtimeMs);
      // A time in the future says nothing about age.
      if (age >= 0 && age < least) return "unsettled";
      if (before.size > bounds.fileBytes) {
        return keep(known, signature, { fault: `is larger than ${bounds.fileBytes} bytes: divide it` });
      }
      const bytes = await handle.readFile();
      const after = await handle.stat({ bigint: true });
      if (after.mtimeNs !== before.mtimeNs || after.size !== before.size || BigInt(bytes.length) !== after.size) {
        return "unsettled";
      }
      return keep(known, signature, decode(bytes));
    } catch (error) {
      return keep(known, "", { fault: `cannot be read: ${reason(error)}` });
    } finally {
      await handle?.close();
    }
  }

  #watch(folder: string, diagnostics: Diagnostic[]): void {
    if (this.#watchers.has(folder) || this.#closed) return;
    try {
      const watcher = watchFolder(folder, { persistent: false }, () => this.#sign());
      watcher.on("error", () => {
        watcher.close();
        this.#watchers.delete(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch (error) {
      const message = `cannot be watched (${reason(error)}): changes are seen after up to ${this.#timing.rescanMs} ms`;
      diagnostics.push({ ...faultAt(folder, message), severity: "warning" });
    }
  }

  #unwatchAllBut(folders: ReadonlySet<string>): void {
    for (const [folder, watcher] of this.#watchers) {
      if (folders.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
  }
}

/** The YAML files of a folder and of those below it; `visit` is called for each folder before it is read. */
async function list(root: string, visit: (folder: string) => void): Promise<readonly Found[]> {
  const realRoot = await realpath(root);
  const found: Found[] = [];
  const open = [{ folder: root, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { folder, depth } = next;
    visit(folder);
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.name.startsWith(".")) continue;
      const path = folder + sep + entry.name;
      if (entry.isDirectory()) {
        if (depth + 1 > bounds.depth) throw new Error(`${path} is more than ${bounds.depth} folders deep`);
        open.push({ folder: path, depth: depth + 1 });
      } else if (/\.ya?ml$/.test(entry.name)) {
        found.push({ path, fault: await faultOf(entry, path, realRoot) });
      }
      if (found.length > bounds.files) throw new Error(`there are more than ${bounds.files} files`);
    }
  }
  return found;
}

/**
 * Found out before anything is opened: a pipe would block, and a link is one way to read what the folder's owner never meant to
 * give.
 */
async function faultOf(entry: Dirent, path: string, realRoot: string): Promise<string | undefined> {
  if (entry.isFile()) return undefined;
  if (!entry.isSymbolicLink()) return "is no regular file: remove it from the folder";
  try {
    const target = await realpath(path);
    if (!target.startsWith(realRoot + sep)) return "is a link that leads out of the folder: copy the file here";
    return (await stat(target)).isFile() ? undefined : "is a link, but not to a file: remove it";
  } catch (error) {
    return `is a link that leads nowhere (${reason(error)}): remove ${entry.name} or mend it`;
  }
}

/** The same state as before keeps its identity. */
function keep(known: Known | undefined, signature: string, state: FileState): Known {
  if (known === undefined) return { signature, state };
  const { state: old } = known;
  const same =
    "text" in old ? "text" in state && old.text === state.text : "fault" in state && old.fault === state.fault;
  return { signature, state: same ? old : state };
}

function decode(bytes: Uint8Array): FileState {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { fault: "is not UTF-8 text: save it as UTF-8" };
  }
}

function faultAt(file: string, message: string): Diagnostic {
  return { severity: "error", code: "source", file, line: 1, column: 1, message };
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
