import type { RouteConfiguration } from "@trama/engine";

const names = new WeakMap<RouteConfiguration, readonly string[]>();

/** Every cluster that a route configuration names, weight zero and mirrors included (R36). Once for each configuration. */
export function clusterNames(routes: RouteConfiguration): readonly string[] {
  const known = names.get(routes);
  if (known !== undefined) return known;
  const found = new Set<string>();
  for (const host of routes.virtualHosts) {
    for (const { action } of host.routes) {
      if (action.kind !== "forward") continue;
      for (const cluster of action.clusters) found.add(cluster.name);
      for (const { cluster } of action.mirrors ?? []) found.add(cluster);
    }
  }
  const list = [...found];
  names.set(routes, list);
  return list;
}
