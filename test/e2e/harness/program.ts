import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ArgumentOf, CallMessage, Failure, Methods, ReadyMessage, ReplyMessage, ResultOf } from "./rpc.ts";

const keptOutput = 16_384;
const startMs = 30_000;
const callMs = 120_000;

/** A program of this test that runs in a process of its own. */
export interface Program<M extends Methods> {
  readonly name: string;
  readonly pid: number;
  /** What the program said when it was up. */
  readonly ready: unknown;
  call<K extends keyof M & string>(
    method: K,
    ...argument: ArgumentOf<M, K> extends undefined ? [] : [ArgumentOf<M, K>]
  ): Promise<ResultOf<M, K>>;
  /** The end of what it wrote to stdout and stderr. */
  output(): string;
  kill(signal: NodeJS.Signals): void;
  /** Settles when the process has ended. */
  readonly ended: Promise<Ending>;
  /** SIGTERM, and SIGKILL when that is not enough: a test that wants more looks at `ended`. */
  stop(): Promise<Ending>;
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set by `stop`: SIGTERM did not end it in 15 s. */
  readonly forced?: boolean;
}

/** A call that failed in the other process, with the facts of its error. */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
  readonly failure: Failure;

  constructor(program: string, method: string, failure: Failure) {
    super(`${program}.${method}: ${failure.name} ${failure.code}: ${failure.message}`);
    this.failure = failure;
  }
}

/** Every process that this test file ever started, for the leak check. */
export const started: { readonly name: string; readonly pid: number; readonly child: ChildProcess }[] = [];

export interface StartOptions {
  readonly name: string;
  /** Below `programs/`. */
  readonly file: string;
  /** Handed over as JSON in argv. */
  readonly options?: unknown;
  readonly env?: Readonly<Record<string, string>>;
  /** Further flags for Node. */
  readonly execArgv?: readonly string[];
  /** Instead of our Node: something that becomes it in the end. */
  readonly execPath?: string;
}

/** Starts a program and waits until it says that it is up; rejects with its own error when it says that it cannot. */
export async function start<M extends Methods>(options: StartOptions): Promise<Program<M>> {
  const { name } = options;
  const child = fork(
    fileURLToPath(new URL(`../programs/${options.file}`, import.meta.url)),
    [JSON.stringify(options.options ?? {})],
    {
      env: { ...baseEnvironment(), ...options.env },
      execArgv: ["--conditions=trama-source", ...(options.execArgv ?? [])],
      ...(options.execPath === undefined ? {} : { execPath: options.execPath }),
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    },
  );
  if (child.pid === undefined) throw new Error(`${name} could not be started`);
  started.push({ name, pid: child.pid, child });

  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-keptOutput);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);

  const ended = new Promise<Ending>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const pending = new Map<number, (reply: ReplyMessage | Ending) => void>();
  let up: ((message: ReadyMessage | Ending) => void) | undefined;
  child.on("message", (message: ReplyMessage | ReadyMessage) => {
    if (message.kind === "ready") up?.(message);
    else if (message.kind === "reply") pending.get(message.id)?.(message);
  });
  void ended.then((ending) => {
    up?.(ending);
    for (const settle of pending.values()) settle(ending);
  });

  const stop = async (): Promise<Ending> => {
    let forced = false;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      const timer = setTimeout(() => {
        forced = true;
        child.kill("SIGKILL");
      }, 15_000);
      await ended;
      clearTimeout(timer);
    }
    if (child.connected) child.disconnect();
    return { ...(await ended), forced };
  };

  const first = await new Promise<ReadyMessage | Ending | undefined>((resolve) => {
    const timer = setTimeout(() => resolve(undefined), startMs);
    up = (message) => {
      clearTimeout(timer);
      resolve(message);
    };
  });
  if (first === undefined) {
    await stop();
    throw new Error(`${name} said nothing for ${startMs} ms.\n${output}`);
  }
  if (!("kind" in first)) throw new Error(`${name} ended (${first.code ?? first.signal}) before it was up.\n${output}`);
  if (first.error !== undefined) {
    await stop();
    throw new RemoteError(name, "start", first.error);
  }

  let calls = 0;
  return {
    name,
    pid: child.pid,
    ready: first.value,
    async call(method, ...argument) {
      const id = ++calls;
      if (child.exitCode !== null || child.signalCode !== null || !child.connected)
        throw new Error(`${name}.${method}: the process has ended.\n${output}`);
      const reply = await new Promise<ReplyMessage | Ending | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), callMs);
        pending.set(id, (message) => {
          clearTimeout(timer);
          resolve(message);
        });
        child.send({ kind: "call", id, method, argument: argument[0] } satisfies CallMessage);
      });
      pending.delete(id);
      if (reply === undefined) throw new Error(`${name}.${method}: no answer for ${callMs} ms.\n${output}`);
      if (!("kind" in reply))
        throw new Error(`${name}.${method}: the process ended (${reply.code ?? reply.signal}).\n${output}`);
      if (reply.error !== undefined) throw new RemoteError(name, method, reply.error);
      return reply.value as never;
    },
    output: () => output,
    kill: (signal) => void child.kill(signal),
    ended,
    stop,
  };
}

/** Our environment without what would join the process to another mesh, or make it a test worker. */
function baseEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [key, value] of Object.entries(process.env))
    if (!/^(TRAMA_|VITEST|NODE_OPTIONS|NODE_ENV|GRPC_XDS)/.test(key)) env[key] = value;
  return env;
}
