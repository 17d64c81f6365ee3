import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Usage } from "./meter.ts";
import type { Answer, Command } from "./subject.ts";

/** A subject seen from the driver. */
export interface Remote {
  readonly name: string;
  readonly ready: Readonly<Record<string, number>>;
  run(requests: number, inFlight: number): Promise<void>;
  latency(requests: number): Promise<number>;
  begin(): Promise<void>;
  end(): Promise<Usage>;
  rssBytes(): Promise<number>;
  figures(step: string): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

/**
 * The same on both sides, or the figures would show who was lucky.
 *
 * V8 allocates objects of sites that once survived in the old generation at once. When it does so to a part of a request, which each
 * side suffers by chance and then for good, everything that this part refers to outlives the young collections too: up to 15 µs more a
 * request, for plain undici as for the mesh. So that is off.
 *
 * V8 makes the young generation larger the more survived in it, whenever that was. Whoever loads something when it starts has a large one from then
 * on, and a request that allocates where the processor's caches do not reach costs up to 20 µs more, of whatever library it is. An application
 * that does some work of its own has a large one with the mesh and without; these programs do nothing but call. So its size is fixed.
 */
const v8Options = ["--no-allocation-site-pretenuring", "--min-semi-space-size=16", "--max-semi-space-size=16"];

const keptOutput = 16_384;
const commandTimeoutMs = 120_000;
const running = new Set<ChildProcess>();

/** The driver ends what it started, by its handle, however the driver itself ends. */
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/**
 * Starts a file of this folder as a process of its own. It runs without the condition `trama-source`, so that `trama` is the built code
 * that users install; only the few lines of the harness itself have their types stripped, once, while they load. `options` are V8's: none for
 * who measures a start, for with any that counts V8 does not take the compiled form of Node's own modules that Node brings along;
 * and for whatever is not compared with another side, so that V8 is as users have it.
 */
export async function start(
  name: string,
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  options: readonly string[] = v8Options,
): Promise<Remote> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [...args], {
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    execArgv: [...options, ...(process.env["BENCH_EXEC_ARGV"]?.split(" ").filter(Boolean) ?? [])],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-keptOutput);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);

  const next = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      const settle = (fn: () => void): void => {
        clearTimeout(timer);
        child.off("message", onMessage);
        child.off("exit", onExit);
        fn();
      };
      const onMessage = (message: unknown): void => settle(() => resolve(message as T));
      const onExit = (): void => settle(() => reject(new Error(`${name} ended too early.\n${output}`)));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`${name} did not answer in time.\n${output}`))),
        commandTimeoutMs,
      );
      if (child.exitCode !== null || child.signalCode !== null) onExit();
      child.on("message", onMessage);
      child.on("exit", onExit);
    });
  const ask = async (command: Command): Promise<Answer> => {
    const answer = next<Answer>();
    // Why it could not be sent is told by the answer that does not come.
    child.send(command, () => {});
    const result = await answer;
    if (result.error !== undefined) throw new Error(`${name}: ${result.error}\n${output}`);
    return result;
  };

  const first = await next<{ ready?: Record<string, number>; error?: string }>();
  return {
    name,
    ready: first.ready ?? {},
    run: async (requests, inFlight) => void (await ask({ op: "run", requests, inFlight })),
    latency: async (requests) => (await ask({ op: "latency", requests })).p50Us ?? NaN,
    begin: async () => void (await ask({ op: "begin" })),
    end: async () => (await ask({ op: "end" })).usage!,
    rssBytes: async () => (await ask({ op: "memory" })).rssBytes!,
    figures: async (step) => (await ask({ op: "figures", step })).figures!,
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
      child.send({ op: "close" } satisfies Command);
      await ended;
      clearTimeout(timer);
    },
  };
}
