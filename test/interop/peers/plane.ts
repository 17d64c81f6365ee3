import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { ClientStatus, ControlPlane } from "@trama/control-plane";
import { startControlPlane } from "@trama/control-plane";

import type { Context, Outcome } from "../peer.ts";
import type { RunningProcess } from "../process.ts";
import { startProcess } from "../process.ts";

/** A process of the mesh, as the command `bootstrap` is told of it. */
export interface Joiner {
  readonly serviceAccount: string;
  readonly workload: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `region/zone`; absent: it does not say where it is. */
  readonly locality?: string;
}

export const namespace = "demo";

export interface Plane {
  readonly controlPlane: ControlPlane;
  /** Puts other YAML in force. */
  write(yaml: string): void;
  /** Runs the command `bootstrap` as users do; resolves to the file that it wrote. */
  bootstrap(joiner: Joiner, ...options: string[]): Promise<string>;
  /** A process that ends with this mesh. */
  start(file: string, args: readonly string[], env?: NodeJS.ProcessEnv): RunningProcess;
  /** To be closed with this mesh, last first. */
  defer(close: () => Promise<unknown>): void;
  /** What the control plane knows of the streams of a node id's workload. */
  clients(workload: string): readonly ClientStatus[];
}

const program = fileURLToPath(import.meta.resolve("@trama/control-plane")).replace(/index\.[jt]s$/, "main.ts");

/**
 * Our control plane on free ports, with one YAML; everything that was started ends with `body`. The nodes of `plaintext` may come
 * without TLS.
 */
export async function withPlane<T>(
  context: Context,
  yaml: string,
  plaintext: readonly Joiner[],
  body: (plane: Plane) => Promise<T>,
): Promise<T> {
  const mesh = join(context.scratch, "mesh");
  const dataDir = join(context.scratch, "data");
  mkdirSync(mesh, { recursive: true });
  writeFileSync(join(mesh, "mesh.yaml"), yaml);
  const closers: (() => Promise<unknown>)[] = [];
  /** Of a process that should go on. */
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  // The control plane's own timers keep no process alive, and while it closes there may be nothing else.
  const alive = setInterval(() => {}, 60_000);
  try {
    const controlPlane = await startControlPlane({
      configDirs: [mesh],
      dataDir,
      port: 0,
      httpPort: 0,
      logLevel: "error",
      shutdownGraceSeconds: 0,
      ...(plaintext.length === 0 ? {} : { plaintextPort: 0, plaintextNodes: plaintext.map(listed) }),
    });
    closers.push(() => controlPlane.close());
    const start: Plane["start"] = (file, args, env) => {
      const running = startProcess(file, args, {
        cwd: context.scratch,
        signal: context.signal,
        ...(env === undefined ? {} : { env }),
      });
      let wanted = false;
      const stop = (): Promise<void> => {
        wanted = true;
        return running.stop();
      };
      closers.push(stop);
      void running.ended.then((why) => {
        const said = running.output().slice(-600);
        if (!wanted && !context.signal.aborted)
          gone.reject(new Error(`${args.join(" ").slice(-100)} ended: ${why}: ${said}`));
      });
      return { ...running, stop };
    };
    const doing = body({
      controlPlane,
      write: (text) => writeFileSync(join(mesh, "mesh.yaml"), text),
      start,
      defer: (close) => void closers.push(close),
      clients: (workload) => controlPlane.status().clients.filter((each) => each.workload === workload),
      async bootstrap(joiner, ...options) {
        const out = join(context.scratch, `join-${joiner.workload}`);
        const args = ["bootstrap", "--out", out, "--data", dataDir, "--server", controlPlane.address];
        const who = [
          "--namespace",
          namespace,
          "--service-account",
          joiner.serviceAccount,
          "--workload",
          joiner.workload,
        ];
        const labels = Object.entries(joiner.labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]);
        const where = joiner.locality === undefined ? [] : ["--locality", joiner.locality];
        const place = ["--address", joiner.address, ...where];
        const running = startProcess(
          process.execPath,
          ["--conditions=trama-source", program, ...args, ...who, ...place, ...labels, ...options],
          { cwd: context.scratch, signal: context.signal },
        );
        const why = await running.ended;
        if (why !== "exit code 0") throw new Error(`bootstrap: ${why}: ${running.output()}`);
        const { file } = JSON.parse(running.output().trim().split("\n").at(-1) ?? "") as { file: string };
        return file;
      },
    });
    return await Promise.race([doing, gone.promise]);
  } finally {
    for (const close of closers.reverse()) await close();
    clearInterval(alive);
  }
}

function listed({ address, workload, serviceAccount }: Joiner): {
  id: string;
  namespace: string;
  serviceAccount: string;
} {
  const id = `sidecar~${address}~${workload}.${namespace}~${namespace}.svc.cluster.local`;
  return { id, namespace, serviceAccount };
}

/** What a body did, or, word for word, what it was waiting for when its time was up. */
export async function outcomeOf(body: () => Promise<string>): Promise<Outcome> {
  try {
    return { result: "pass", detail: await body() };
  } catch (error) {
    return { result: "fail", detail: error instanceof Error ? error.message : String(error) };
  }
}

/** Looks again and again until it is so; says what it waited for when the time of the capability is up. */
export async function until<T>(
  context: Context,
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (context.signal.aborted) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
