import type { LocalityHosts } from "./locality.ts";

/**
 * The localities that serve: those of the highest priority in which anything is healthy (R44); a lower one takes over
 * only when all above are empty. Without overprovisioning and without panic: unhealthy endpoints are never used, as
 * Istio has it by default (`minHealthPercent` 0), for sending a request to a place that is known to be dead helps nobody.
 */
export function usable(priorities: readonly (readonly LocalityHosts[])[]): LocalityHosts[] {
  for (const priority of priorities) {
    const serving = priority.filter((each) => each.ready.length > 0);
    if (serving.length > 0) return serving;
  }
  return [];
}
