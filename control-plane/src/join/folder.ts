import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { createFileOnce, guardFiles, makePrivateDir } from "../data-dir.ts";

const generationPrefix = "..generation-";

/**
 * A folder whose files change all at once, as Kubernetes' projected volumes do: each name is a link through `..data`, and
 * one rename turns `..data` to the next generation. Who reads a key and its certificate one after the other finds a pair of
 * one generation, or finds out that they do not fit and reads again; the file watchers of gRPC and Envoy do both (R52, BS16).
 */
export function replaceFiles(dir: string, files: Readonly<Record<string, string>>): void {
  makePrivateDir(dir);
  const generation = `${generationPrefix}${Date.now().toString(36)}-${randomBytes(4).toString("hex")}`;
  guardFiles("write", dir, () => {
    mkdirSync(join(dir, generation), { mode: 0o700 });
    for (const [name, text] of Object.entries(files)) createFileOnce(join(dir, generation, name), text);
    const previous = currentGeneration(dir);
    const aside = join(dir, `..data.${randomBytes(4).toString("hex")}.tmp`);
    symlinkSync(generation, aside);
    renameSync(aside, join(dir, "..data"));
    for (const name of Object.keys(files)) link(dir, name);
    // The one before stays: somebody may just be reading it.
    for (const name of readdirSync(dir))
      if (name.startsWith(generationPrefix) && name !== generation && name !== previous)
        rmSync(join(dir, name), { recursive: true, force: true });
  });
}

function currentGeneration(dir: string): string | undefined {
  const path = join(dir, "..data");
  return existsSync(path) ? readlinkSync(path) : undefined;
}

/** A name that was a file of its own before becomes a link in one step, too. */
function link(dir: string, name: string): void {
  const target = join("..data", name);
  const aside = join(dir, `..${name}.${randomBytes(4).toString("hex")}.tmp`);
  symlinkSync(target, aside);
  renameSync(aside, join(dir, name));
}
