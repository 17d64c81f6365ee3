import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Cache } from "../peer.ts";
import { runStep } from "./run.ts";

/** The folder with the programs of the Python peers (`python`, `envoy`). */
export function pythonBin(cache: Cache): string {
  return join(cache.root, "python", "bin");
}

const requirements = join(import.meta.dirname, "../requirements.txt");

let installed: Promise<void> | undefined;

/**
 * All that requirements.txt names, in an environment of its own; made anew when that file changes. Tried once a run, however many
 * peers need it.
 */
export function installPython(cache: Cache): Promise<void> {
  return (installed ??= install(cache));
}

async function install(cache: Cache): Promise<void> {
  const folder = join(cache.root, "python");
  const stamp = join(folder, ".installed");
  const wanted = createHash("sha256").update(readFileSync(requirements)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  rmSync(folder, { recursive: true, force: true });
  await runStep(cache, "python3", ["-m", "venv", folder], { cwd: cache.root, limitMs: 120_000 });
  const pip = ["install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "-r", requirements];
  await runStep(cache, join(folder, "bin", "pip"), pip, { cwd: cache.root, limitMs: 300_000 });
  writeFileSync(stamp, wanted);
}
