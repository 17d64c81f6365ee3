import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** What users install is what is measured: the packages are compiled first, and the measured processes import their `dist`. */
export function build(progress: (text: string) => void): void {
  progress("building what will be measured");
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const { status, error } = spawnSync("tsc", ["-b", "packages/sdk", "control-plane"], {
    cwd: root,
    // stdout is for the figures.
    stdio: ["ignore", 2, "inherit"],
  });
  if (status === 0) return;
  progress(
    error === undefined ? "the build failed" : `tsc did not start: ${error.message}; run this as \`npm run bench\``,
  );
  process.exit(1);
}
