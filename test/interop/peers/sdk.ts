import { join } from "node:path";

import type { RunningProcess } from "../process.ts";
import type { Joiner, Plane } from "./plane.ts";

const programs = join(import.meta.dirname, "../node");

/** A service or a caller on our own SDK, in a process of its own. */
export async function startSdk(
  plane: Plane,
  program: "http-peer.ts" | "grpc-peer.ts" | "tcp-peer.ts",
  node: Joiner,
  ...args: string[]
): Promise<RunningProcess> {
  const { address: controlPlane, rootCertFile } = plane.controlPlane;
  const { serviceAccount, workload, address, labels, locality = "" } = node;
  return plane.start(process.execPath, ["--conditions=trama-source", join(programs, program), ...args], {
    TRAMA_CONTROL_PLANE: controlPlane,
    TRAMA_ROOT_CERT_FILE: rootCertFile,
    TRAMA_TOKEN: await plane.controlPlane.issueToken({ namespace: "demo", serviceAccount, lifeSeconds: 600 }),
    TRAMA_WORKLOAD: workload,
    TRAMA_ADDRESS: address,
    TRAMA_LOCALITY: locality,
    TRAMA_LABELS: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(),
    TRAMA_DRAIN_MS: "0",
  });
}
