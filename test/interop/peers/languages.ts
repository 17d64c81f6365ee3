import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { goBuild } from "../install/go.ts";
import { pythonBin, installPython } from "../install/python.ts";
import { runStep } from "../install/run.ts";
import type { Cache, Tool } from "../peer.ts";

/** A gRPC library with an xDS client, and a small program of ours on it that is a client or a server. */
export interface Language {
  readonly name: string;
  readonly version: string;
  readonly needs: Tool;
  /** It can do no TLS to the control plane. */
  readonly plaintext: boolean;
  install(cache: Cache): Promise<void>;
  command(cache: Cache): readonly [file: string, ...args: string[]];
  readonly env: NodeJS.ProcessEnv;
}

const sources = join(import.meta.dirname, "..");

export const go: Language = {
  name: "grpc-go",
  version: "1.85.0",
  needs: "go",
  plaintext: false,
  install: (cache) => goBuild(cache, "grpcpeer"),
  command: (cache) => [join(cache.root, "bin", "grpcpeer")],
  env: {},
};

export const python: Language = {
  name: "grpcio",
  version: "1.85.1",
  needs: "python",
  plaintext: false,
  install: installPython,
  command: (cache) => [join(pythonBin(cache), "python"), join(sources, "py", "peer.py")],
  env: {},
};

export const js: Language = {
  name: "grpc-js-xds",
  version: "1.14.1",
  needs: "node",
  plaintext: true,
  async install(cache) {
    const folder = join(cache.root, "js");
    mkdirSync(folder, { recursive: true });
    for (const name of ["package.json", "package-lock.json", "peer.mjs"])
      cpSync(join(sources, "js", name), join(folder, name));
    const args = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
    await runStep(cache, "npm", args, { cwd: folder, limitMs: 300_000 });
  },
  command: (cache) => [process.execPath, join(cache.root, "js", "peer.mjs")],
  // Off, it refuses a Listener with an RBAC filter, as gRFC A41 asks.
  env: { GRPC_XDS_EXPERIMENTAL_RBAC: "true" },
};
