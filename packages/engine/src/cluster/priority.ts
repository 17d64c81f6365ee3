import type { EndpointConfig, EndpointSet, Locality } from "../config.ts";

/** A locality with its endpoints that take new traffic; never empty. */
export interface UsableLocality {
  readonly locality: Locality;
  readonly weight: number;
  readonly endpoints: readonly EndpointConfig[];
}

/** The localities that serve, and the priority they belong to. */
export interface Usable {
  readonly priority: number;
  readonly localities: readonly UsableLocality[];
}

/**
 * The highest priority in which anything is healthy (R44); a lower one takes over only when all above are empty. Without
 * overprovisioning and without panic: unhealthy endpoints are never used, as Istio has it by default (`minHealthPercent`
 * 0), for sending a request to a place that is known to be dead helps nobody.
 */
export function usable(set: EndpointSet): Usable | undefined {
  for (const [priority, all] of set.priorities.entries()) {
    const localities: UsableLocality[] = [];
    for (const { locality, weight, endpoints } of all) {
      const healthy = endpoints.filter((endpoint) => endpoint.health === "healthy");
      if (healthy.length > 0) localities.push({ locality, weight, endpoints: healthy });
    }
    if (localities.length > 0) return { priority, localities };
  }
  return undefined;
}
