import type { RouteConfiguration } from "@trama/engine";

import type { Assembly, Root, Tables } from "./assemble.ts";
import { clusterNames } from "./cluster-names.ts";
import type { DecodedHttp } from "./resources/filter-chain.ts";
import { localClusterName } from "./resources/zone-aware.ts";

/** Names to ask for, by type. */
export interface Wanted {
  readonly listener: ReadonlySet<string>;
  readonly route: ReadonlySet<string>;
  readonly cluster: ReadonlySet<string>;
  readonly endpoint: ReadonlySet<string>;
}

/**
 * What to ask for: the listeners that the process needs, and whatever those refer to. References of what was last received
 * count, and also those of what is in force, for as long as that is not replaced (R26). The rest is no longer wanted.
 */
export function wanted(roots: Iterable<Root>, tables: Tables, assembly: Assembly): Wanted {
  const found = {
    listener: new Set<string>(),
    route: new Set<string>(),
    cluster: new Set<string>(),
    endpoint: new Set<string>(),
  };
  const clusters = (routes: RouteConfiguration | undefined): void => {
    if (routes !== undefined) for (const name of clusterNames(routes)) found.cluster.add(name);
  };
  const http = (one: DecodedHttp, outbound: boolean): void => {
    let routes: RouteConfiguration | undefined;
    if ("rds" in one.routes) {
      found.route.add(one.routes.rds);
      routes = tables.route.get(one.routes.rds)?.value;
    } else routes = one.routes;
    if (outbound) clusters(routes);
  };
  for (const root of roots) {
    found.listener.add(root.resource);
    const next = tables.listener.get(root.resource)?.value;
    if (next?.kind === "outbound") http(next.http, true);
    else if (next !== undefined)
      for (const chain of [...next.chains, ...(next.defaultChain ? [next.defaultChain] : [])]) http(chain.http, false);
    const now = assembly.published(root.resource);
    if (now?.side === "outbound") {
      http(now.http, true);
      clusters(now.config.routes);
    } else if (now !== undefined) for (const chain of now.decoded.chains) http(chain.http, false);
  }
  for (const name of found.cluster) {
    const newest = tables.cluster.get(name)?.value;
    const endpoints = newest?.endpoints;
    if (endpoints !== undefined && "eds" in endpoints) found.endpoint.add(endpoints.eds);
    const inForce = assembly.endpointsInForce(name);
    if (inForce !== undefined) found.endpoint.add(inForce);
    if (assembly.needsLocal(name, newest)) found.endpoint.add(localClusterName);
  }
  return found;
}
