import { duration } from "../../kit/xds-resources.ts";
import type { RouteInit } from "./routes/feature.ts";

/** All below `/<cluster>/` goes to the cluster, for as long as it likes. */
export function routeTo(cluster: string): RouteInit {
  return {
    match: { pathSpecifier: { case: "prefix", value: `/${cluster}/` } },
    action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: cluster }, timeout: duration(0) } },
  };
}
