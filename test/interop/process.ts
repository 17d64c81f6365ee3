import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import type { AddressInfo } from "node:net";

export interface RunningProcess {
  readonly pid: number;
  /** Sends a line to its stdin, if that was asked for. */
  write(line: string): void;
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
  options: {
    readonly cwd: string;
    readonly signal: AbortSignal;
    readonly env?: NodeJS.ProcessEnv;
    /** Is told each line of its stdout. With it the process has a stdin. */
    readonly onLine?: (line: string) => void;
  },
): RunningProcess {
  options.signal.throwIfAborted();
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: [options.onLine === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const { stdin, stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("it was started with pipes");
  // A process that ends while it is written to says why it ended elsewhere.
  stdin?.on("error", () => {});
  let said = "";
  const listen = (text: string): void => void (said = (said + text).slice(-8_000));
  stdout.setEncoding("utf8").on("data", listen);
  stderr.setEncoding("utf8").on("data", listen);
  if (options.onLine !== undefined) createInterface({ input: stdout }).on("line", options.onLine);
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
    write: (line) => void stdin?.write(`${line}\n`),
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
 * known, so they differ. On an address of this run's own (addresses.ts) nobody takes them meanwhile.
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
