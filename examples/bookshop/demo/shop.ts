import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlPlaneReady } from "./messages.ts";
import { scrape } from "./metrics.ts";
import { start, type Running } from "./process.ts";
import { registerWorkloads } from "./workloads.ts";

/** The running shop: a control plane, five services, a customer and an outsider, each a process of its own. */
export interface Shop {
  readonly controlPlane: ControlPlaneReady;
  /** Where each service serves `/metrics`. */
  readonly metricsPorts: ReadonlyMap<string, number>;
  readonly customer: Running;
  readonly outsider: Running;
  /** SIGKILL, as a crash would do it. */
  killControlPlane(): Promise<void>;
  /** On the same port and data folder, as a supervisor would do it. */
  restartControlPlane(): Promise<void>;
  close(): Promise<void>;
}

const services = [
  { name: "storefront", file: "../services/storefront.ts", app: "storefront", version: "v1", portName: "http" },
  { name: "catalog-v1", file: "../services/catalog.ts", app: "catalog", version: "v1", portName: "http" },
  { name: "catalog-v2", file: "../services/catalog.ts", app: "catalog", version: "v2", portName: "http" },
  { name: "reviews", file: "../services/reviews.ts", app: "reviews", version: "v1", portName: "http" },
  { name: "ratings", file: "../services/ratings.ts", app: "ratings", version: "v1", portName: "grpc" },
] as const;
const accounts = "storefront,catalog,reviews,ratings,customer";

export async function openShop(meshDir: string, perSecond: number, progress: (text: string) => void): Promise<Shop> {
  const runDir = await mkdtemp(join(tmpdir(), "trama-bookshop-"));
  const dataDir = join(runDir, "control-plane");
  const workloadsDir = join(runDir, "workloads");
  await mkdir(workloadsDir, { recursive: true });
  const running: Running[] = [];
  const launch = (...args: Parameters<typeof start>): Running => {
    const started = start(...args);
    running.push(started);
    return started;
  };
  const startControlPlane = async (port: number): Promise<[Running, ControlPlaneReady]> => {
    const process = launch("control plane", "control-plane.ts", [
      dataDir,
      String(port),
      accounts,
      meshDir,
      workloadsDir,
    ]);
    return [process, await process.next("control-plane")];
  };
  /** The customer first, so that no request fails because the shop closed before its visitors left; the control plane last. */
  const close = async (): Promise<void> => {
    for (const group of [["customer", "outsider"], services.map(({ name }) => name), ["control plane"]] as const)
      await Promise.all(
        running.filter(({ name }) => (group as readonly string[]).includes(name)).map((one) => one.stop()),
      );
    await rm(runDir, { recursive: true, force: true });
  };

  try {
    progress("starting the control plane");
    let [controlPlaneProcess, controlPlane] = await startControlPlane(0);
    const environment = (account: string, workload: string, version: string): NodeJS.ProcessEnv => ({
      TRAMA_CONTROL_PLANE: `127.0.0.1:${controlPlane.port}`,
      TRAMA_ROOT_CERT_FILE: controlPlane.rootCertFile,
      TRAMA_TOKEN: controlPlane.tokens[account],
      TRAMA_WORKLOAD: workload,
      TRAMA_LABELS: `app=${account},version=${version}`,
      CATALOG_VERSION: version,
    });

    progress("starting storefront, catalog v1 and v2, reviews and ratings");
    const listening = await Promise.all(
      services.map(async ({ name, file, app, version, portName }) => {
        const process = launch(name, file, [], environment(app, name, version));
        return { name, app, version, portName, ...(await process.next("listening")) };
      }),
    );
    await registerWorkloads(workloadsDir, listening);

    progress("starting the customer and the outsider");
    const customer = launch(
      "customer",
      "../services/customer.ts",
      [String(perSecond)],
      environment("customer", "customer", "v1"),
    );
    await customer.next("joined");
    // As if Prometheus had been there all along: a first scrape loads what scrapes need, in all services at once.
    const metricsPorts = new Map(listening.map(({ name, metricsPort }) => [name, metricsPort]));
    await scrape(metricsPorts);
    customer.child.send({ kind: "go" });
    await customer.next("started");
    const ports = listening.map(({ port }) => String(port));
    const outsider = launch("outsider", "../services/outsider.ts", ports);

    return {
      controlPlane,
      metricsPorts,
      customer,
      outsider,
      async killControlPlane() {
        controlPlaneProcess.child.kill("SIGKILL");
        await controlPlaneProcess.stop();
      },
      async restartControlPlane() {
        [controlPlaneProcess, controlPlane] = await startControlPlane(controlPlane.port);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
