import { spawn } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

export interface RunningProcess {
  readonly pid: number;
  /** The last few thousand characters of what it wrote to stdout and stderr. */
  output(): string;
  /** Resolves with why it ended; never rejects. */
  readonly ended: Promise<string>;
  /** Asks it to end, then makes it; resolves when it has. Idempotent. */
  stop(): Promise<void>;
}

/**
 * A peer's process: ended by its own pid when `signal` fires, when {@link RunningProcess.stop} is called, and at the
 * latest when this process ends, so that nothing is left over.
 */
export function startProcess(
  file: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly signal: AbortSignal; readonly env?: NodeJS.ProcessEnv },
): RunningProcess {
  options.signal.throwIfAborted();
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  const listen = (text: string): void => void (said = (said + text).slice(-8_000));
  child.stdout.setEncoding("utf8").on("data", listen);
  child.stderr.setEncoding("utf8").on("data", listen);
  const kill = (): void => void child.kill("SIGKILL");
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(signal === null ? `exit code ${code}` : `ended by ${signal}`));
  });
  process.on("exit", kill);
  options.signal.addEventListener("abort", kill);
  void ended.then(() => {
    process.off("exit", kill);
    options.signal.removeEventListener("abort", kill);
  });
  return {
    pid: child.pid ?? -1,
    output: () => said,
    ended,
    async stop() {
      child.kill("SIGTERM");
      const late = setTimeout(kill, 3_000);
      await ended;
      clearTimeout(late);
    },
  };
}

/**
 * Ports that were free a moment ago, for peers that cannot bind port 0 or must know their port beforehand. All are held until the last is
 * known, so they differ. Tests of one machine bind other addresses of 127/8, so nobody takes them meanwhile.
 */
export async function freePorts(count: number, host: string): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.on("error", reject);
          server.listen(0, host, () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
