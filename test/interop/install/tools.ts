import { execFile } from "node:child_process";
import { promisify } from "node:util";

import type { Tool } from "../peer.ts";

const probes: Readonly<Record<Exclude<Tool, "node">, readonly [string, ...string[]]>> = {
  // Debian splits the venv module off: without ensurepip no environment can be made.
  python: ["python3", "-c", "import ensurepip, venv"],
  go: ["go", "version"],
};

const known = new Map<Tool, Promise<boolean>>();

/** Whether the machine has what a peer needs; asked once a tool. */
export function has(tool: Tool): Promise<boolean> {
  let answer = known.get(tool);
  if (answer === undefined) known.set(tool, (answer = tool === "node" ? Promise.resolve(true) : probe(probes[tool])));
  return answer;
}

async function probe([file, ...args]: readonly [string, ...string[]]): Promise<boolean> {
  try {
    await promisify(execFile)(file, args, { timeout: 30_000 });
    return true;
  } catch {
    return false;
  }
}
