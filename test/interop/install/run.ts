import { spawn } from "node:child_process";

import type { Cache } from "../peer.ts";

/** Runs one step of an installation; its own words go to stderr line by line, and are the error when it fails. */
export function runStep(
  cache: Cache,
  file: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly limitMs: number; readonly env?: NodeJS.ProcessEnv },
): Promise<void> {
  cache.progress(`${file.slice(file.lastIndexOf("/") + 1)} ${args.join(" ")}`);
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: options.limitMs,
      killSignal: "SIGKILL",
    });
    let said = "";
    const listen = (text: string): void => void (said = (said + text).slice(-4_000));
    child.stdout.setEncoding("utf8").on("data", listen);
    child.stderr.setEncoding("utf8").on("data", listen);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve();
      const why = signal === null ? `exit code ${code}` : `ended by ${signal} after ${options.limitMs} ms`;
      reject(new Error(`${file} ${args[0] ?? ""}: ${why}: ${lastLine(said)}`));
    });
  });
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
