import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Message } from "./messages.ts";

/** A process of the demo: its messages, the end of its output (for an error), and a clean end by its id. */
export interface Running {
  readonly name: string;
  readonly child: ChildProcess;
  /** The next message of that kind; rejects when the process ends first. */
  next<K extends Message["kind"]>(kind: K): Promise<Extract<Message, { kind: K }>>;
  on<K extends Message["kind"]>(kind: K, fn: (message: Extract<Message, { kind: K }>) => void): void;
  /** SIGTERM, then SIGKILL after `graceMs`. */
  stop(graceMs?: number): Promise<void>;
}

const keptOutput = 8_192;

export function start(name: string, file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [...args], {
    env: { ...process.env, ...env },
    execArgv: ["--conditions=trama-source"],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-keptOutput);
    if (process.env["DEMO_VERBOSE"] !== undefined) process.stderr.write(chunk);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);

  const ended = once(child, "exit");
  return {
    name,
    child,
    next(kind) {
      return new Promise((resolve, reject) => {
        const done = (): void => {
          child.off("message", onMessage);
          child.off("exit", onExit);
        };
        const onMessage = (message: unknown): void => {
          if ((message as Message).kind !== kind) return;
          done();
          resolve(message as Extract<Message, { kind: typeof kind }>);
        };
        const onExit = (): void => {
          done();
          reject(new Error(`${name} ended before it was ready.\n${output}`));
        };
        if (child.exitCode !== null || child.signalCode !== null) onExit();
        child.on("message", onMessage);
        child.on("exit", onExit);
      });
    },
    on(kind, fn) {
      child.on("message", (message: unknown) => {
        if ((message as Message).kind === kind) fn(message as Extract<Message, { kind: typeof kind }>);
      });
    },
    async stop(graceMs = 15_000) {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}
