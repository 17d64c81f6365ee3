import { spread, type Spread } from "./paired.ts";
import { start } from "./process.ts";
import type { World } from "./world.ts";

const clients = 1_000;
const users = 10;

/** What the control plane does for many at once. */
export interface ControlPlane {
  /** From the change of one endpoint in its YAML to the last client that uses it, in milliseconds. */
  readonly fanOutMs: Spread;
  /** Clients that were sent something then, at most: `users`, if nobody else is disturbed. */
  readonly told: number;
  readonly users: number;
  readonly clients: number;
  /** A second of one processor: of CPU time, all threads of the control plane together. */
  readonly certificatesPerSecond: Spread;
}

/** A thousand clients on a connection each, of which ten use the service whose endpoint moves; and certificates, one connection asking. */
export async function measureControlPlane(
  world: World,
  times: number,
  progress: (text: string) => void,
): Promise<ControlPlane> {
  progress(`control plane: ${clients} clients connect`);
  const [, port = ""] = /:(\d+)$/.exec(world.environment("client")["TRAMA_CONTROL_PLANE"]!) ?? [];
  const args = [port, world.folder, world.configDir, String(clients), String(users)];
  const many = await start("xds-clients", "subjects/xds-clients.ts", args);
  try {
    const found: Readonly<Record<string, number>>[] = [];
    const certificates: number[] = [];
    // The first is read by cold code, and is not counted.
    for (let time = 0; time <= times; time++) {
      const one = await many.figures("change");
      if (time === 0) continue;
      progress(`control plane: the last of ${one["told"]} clients told after ${one["lastMs"]!.toFixed(0)} ms`);
      found.push(one);
    }
    for (let time = 0; time < 3; time++) {
      const startMs = await world.controlPlaneCpuMs();
      const { issued } = await many.figures("certificates");
      const usedMs = (await world.controlPlaneCpuMs()) - startMs;
      certificates.push(issued! / (usedMs / 1_000));
    }
    return {
      fanOutMs: spread(found.map((one) => one["lastMs"]!)),
      told: Math.max(...found.map((one) => one["told"]!)),
      users,
      clients,
      certificatesPerSecond: spread(certificates),
    };
  } finally {
    await many.close();
  }
}
