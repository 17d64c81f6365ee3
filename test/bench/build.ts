import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** What users install is what is measured: the packages are built first, and the measured processes import their `dist`. */
export function build(progress: (text: string) => void): void {
  progress("building what will be measured");
  for (const [command, ...args] of [
    ["tsc", "-b", "packages/sdk", "control-plane"],
    ["node", "tools/bundle.ts"],
  ] as const) {
    const { status, error } = spawnSync(command, args, {
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      // stdout is for the figures.
      stdio: ["ignore", 2, "inherit"],
    });
    if (status === 0) continue;
    progress(
      error === undefined
        ? "the build failed"
        : `${command} did not start: ${error.message}; run this as \`npm run bench\``,
    );
    process.exit(1);
  }
}
