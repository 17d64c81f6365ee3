import { join } from "node:path";

import type { Cache } from "../peer.ts";
import { runStep } from "./run.ts";

const folder = join(import.meta.dirname, "../go");

/** A main of ours below `go/`, with the libraries that go.mod names. The compiler's own cache makes the second build a matter of a second. */
export function goBuild(cache: Cache, name: string): Promise<void> {
  return runStep(cache, "go", ["build", "-p", "2", "-o", join(cache.root, "bin", name), `./${name}`], {
    cwd: folder,
    limitMs: 1_200_000,
    env: { GOTOOLCHAIN: "local", CGO_ENABLED: "0", GOFLAGS: "-mod=readonly" },
  });
}
