import type { Mesh } from "trama";
import { hostOf, routesEach, serviceCount } from "../world.ts";
import { paths, requestAll } from "./workers.ts";

/** Calls each of the hundred services once, and this host, so that all of their configuration is there; says how many resources that are. */
export async function reach(mesh: Mesh, host: string): Promise<number> {
  if (paths.length !== routesEach) throw new Error("the requests must use one path a route");
  for (let service = 0; service < serviceCount; service++) await once(mesh, `http://${hostOf(service)}:8080`);
  await once(mesh, `http://${host}:8080`);
  return mesh.status().resources.length;
}

/** The control plane may not have read the folder yet. */
async function once({ dispatcher }: Mesh, origin: string): Promise<void> {
  const endMs = performance.now() + 15_000;
  for (;;) {
    try {
      return await requestAll([{ dispatcher, origin }], 1, 1);
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
