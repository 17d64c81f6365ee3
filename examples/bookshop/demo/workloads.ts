import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What a platform would know of an instance of a service. */
export interface Workload {
  readonly name: string;
  readonly app: string;
  readonly version: string;
  /** As its ServiceEntry names the port. */
  readonly portName: string;
  readonly port: number;
  /** `region/zone/subzone`, or a beginning of it; absent: nowhere in particular. */
  readonly locality?: string;
}

/** Ports are given by the system, so the entries that a platform would register are written here. */
export async function registerWorkloads(folder: string, workloads: readonly Workload[]): Promise<void> {
  const yaml = workloads.map(
    ({ name, app, version, portName, port, locality }) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec:
  address: 127.0.0.1
  ports: { ${portName}: ${port} }
  serviceAccount: ${app}
  labels: { app: ${app}, version: ${version} }
${locality === undefined ? "" : `  locality: ${locality}\n`}`,
  );
  const file = join(folder, "workloads.yaml");
  await writeFile(`${file}.new`, yaml.join("---\n"));
  await rename(`${file}.new`, file);
}
