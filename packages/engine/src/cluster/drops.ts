import type { EndpointSet } from "../config.ts";
import { MeshError } from "../errors.ts";

/**
 * `drop_overloads` (R49): the control plane sheds a share of the load before it reaches anybody. Each category has its
 * own roll, in order; a dropped call is not retried (R42).
 */
export function rollDrops(drops: EndpointSet["drops"], random: () => number): MeshError | undefined {
  for (const { category, perMillion } of drops) {
    if (random() * 1_000_000 >= perMillion) continue;
    return new MeshError("OVERFLOW", `the mesh drops a share of the load of this cluster (category ${category})`, {
      flag: "DO",
    });
  }
  return undefined;
}
