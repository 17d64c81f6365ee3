import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlPlaneReady, Reading } from "../messages.ts";
import { start, type Running } from "../process.ts";
import { registerWorkloads, type Workload } from "../workloads.ts";

export const regions = ["eu", "us", "ap"] as const;
export type Region = (typeof regions)[number];

/** A catalog in three regions, each a process of its own, and a reader in `eu`. */
export interface World {
  readonly controlPlane: ControlPlaneReady;
  /** Every answer so far, in order. */
  readonly readings: readonly Reading[];
  readonly errors: readonly string[];
  /** SIGKILL, as a power cut would do it: nobody says good-bye, and the registry still names the place. */
  kill(region: Region): Promise<void>;
  /** A new process in its place, at a port of its own, registered as a platform does it. */
  restart(region: Region): Promise<void>;
  /** Every answer of the region comes so much later; 0 heals it. */
  delay(region: Region, ms: number): void;
  /** Gives every try, and every call, so many times the time that the YAML says. */
  stretch(factor: number): Promise<void>;
  close(): Promise<void>;
}

export async function openWorld(meshDir: string, perSecond: number, progress: (text: string) => void): Promise<World> {
  const runDir = await mkdtemp(join(tmpdir(), "trama-regions-"));
  const workloadsDir = join(runDir, "workloads");
  await mkdir(workloadsDir);
  // A copy: nothing in the checkout changes.
  const policyDir = join(runDir, "mesh");
  await cp(meshDir, policyDir, { recursive: true });
  const running = new Map<string, Running>();
  const launch = (name: string, ...rest: [string, readonly string[], NodeJS.ProcessEnv?]): Running => {
    const started = start(name, ...rest);
    running.set(name, started);
    return started;
  };
  /** The reader first, so that none of its requests fails because the others left; the control plane last. */
  const close = async (): Promise<void> => {
    for (const group of [["reader"], [...regions], ["control plane"]])
      await Promise.all(group.map(async (name) => running.get(name)?.stop()));
    await rm(runDir, { recursive: true, force: true });
  };
  try {
    progress("starting the control plane");
    const controlPlane = await launch("control plane", "control-plane.ts", [
      join(runDir, "control-plane"),
      "0",
      "catalog,reader",
      policyDir,
      workloadsDir,
    ]).next("control-plane");
    const environment = (account: string, workload: string, region: string): NodeJS.ProcessEnv => ({
      TRAMA_CONTROL_PLANE: `127.0.0.1:${controlPlane.port}`,
      TRAMA_ROOT_CERT_FILE: controlPlane.rootCertFile,
      TRAMA_TOKEN: controlPlane.tokens[account],
      TRAMA_WORKLOAD: workload,
      TRAMA_LABELS: `app=${account},version=v1`,
      TRAMA_LOCALITY: `${region}/${region}-1`,
    });

    const places = new Map<Region, Workload>();
    const open = async (region: Region): Promise<void> => {
      const branch = launch(
        region,
        "../services/branch.ts",
        [region],
        environment("catalog", `catalog-${region}`, region),
      );
      const { port } = await branch.next("listening");
      const name = `catalog-${region}`;
      places.set(region, {
        name,
        app: "catalog",
        version: "v1",
        portName: "http",
        port,
        locality: `${region}/${region}-1`,
      });
    };
    const register = (): Promise<void> => registerWorkloads(workloadsDir, [...places.values()]);
    progress(`starting the catalog in ${regions.join(", ")}`);
    await Promise.all(regions.map(open));
    await register();

    progress("starting a reader in eu");
    const reader = launch(
      "reader",
      "../services/reader.ts",
      [String(perSecond)],
      environment("reader", "reader", "eu"),
    );
    const readings: Reading[] = [];
    const errors: string[] = [];
    reader.on("readings", (message) => {
      readings.push(...message.readings);
      errors.push(...message.errors);
    });
    await reader.next("started");

    return {
      controlPlane,
      readings,
      errors,
      async kill(region) {
        running.get(region)?.child.kill("SIGKILL");
        await running.get(region)?.stop();
      },
      async restart(region) {
        await open(region);
        await register();
      },
      async stretch(factor) {
        const file = join(policyDir, "catalog.yaml");
        const yaml = await readFile(file, "utf8");
        await writeFile(`${file}.new`, stretched(yaml, factor));
        await rename(`${file}.new`, file);
      },
      delay: (region, ms) => void running.get(region)?.child.send({ kind: "late", ms }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function stretched(yaml: string, factor: number): string {
  const [call, tries] = ["timeout: 2s", "perTryTimeout: 60ms"];
  if (!yaml.includes(call) || !yaml.includes(tries))
    throw new Error("the time-outs are not where the demo expects them");
  return yaml.replace(call, `timeout: ${2 * factor}s`).replace(tries, `perTryTimeout: ${60 * factor}ms`);
}
