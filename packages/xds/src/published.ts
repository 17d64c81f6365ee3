import type { FilterChain, InboundListener, OutboundListener, RouteConfiguration, EndpointSet } from "@trama/engine";

import { clusterNames } from "./cluster-names.ts";
import type { DecodedChain, DecodedHttp } from "./resources/filter-chain.ts";
import type { DecodedCluster } from "./resources/cluster.ts";
import type { DecodedInbound, DecodedListener, DecodedOutbound } from "./resources/listener.ts";
import type { Entry } from "./resource-table.ts";

/** A listener that the process asked for: the root of what is subscribed. */
export interface Root {
  readonly side: "outbound" | "inbound";
  /** Its key in the MeshConfig: `host:port` as asked, or the bound `ip:port`. */
  readonly key: string;
  /** Its name at the control plane. */
  readonly resource: string;
}

/** The resources of one type, as the assembly sees them. */
export interface Resources<T> {
  get(name: string): Entry<T> | undefined;
  /** From now on it is asked for. */
  want(name: string): void;
  /** It is not any more, and what is known of it is forgotten. */
  unwant(name: string): void;
}

export interface Tables {
  readonly listener: Resources<DecodedListener>;
  readonly route: Resources<RouteConfiguration>;
  readonly cluster: Resources<DecodedCluster>;
  readonly endpoint: Resources<EndpointSet>;
}

/** Where a root stands. */
export type Outcome =
  | { readonly kind: "found" }
  | { readonly kind: "missing" }
  /** Refused, or names something that does not exist, and no earlier version is in use. */
  | { readonly kind: "invalid"; readonly message: string }
  | { readonly kind: "waiting"; readonly waitingFor: string };

/** What is published for a root, and what it was made of. */
export type Published =
  | { readonly side: "outbound"; readonly http: DecodedHttp; readonly config: OutboundListener }
  | { readonly side: "inbound"; readonly decoded: DecodedInbound; readonly config: InboundListener };

export type Incomplete = Exclude<Outcome, { kind: "found" } | { kind: "missing" }>;

export function outboundListener(
  root: Root,
  { http, opaque }: DecodedOutbound,
  before: Published | undefined,
  tables: Tables,
  resolve: (cluster: string) => object | "absent" | "pending",
): Published | Incomplete {
  const routes = routesOf(http, tables);
  if ("kind" in routes) return routes;
  for (const name of clusterNames(routes)) {
    if (resolve(name) === "pending") return { kind: "waiting", waitingFor: `cluster ${name}` };
  }
  if (before?.side === "outbound" && before.http === http && before.config.routes === routes) return before;
  const config = { name: root.key, filters: http.filters, routes, ...(opaque && { opaque }) };
  return { side: "outbound", http, config };
}

export function inboundListener(
  root: Root,
  decoded: DecodedInbound,
  before: Published | undefined,
  tables: Tables,
): Published | Incomplete {
  const old = before?.side === "inbound" ? before : undefined;
  const chains: FilterChain[] = [];
  for (const chain of chainsOf(decoded)) {
    const routes = routesOf(chain.http, tables);
    if ("kind" in routes) return routes;
    chains.push(chainConfig(chain, routes));
  }
  const routesBefore = old && [...old.config.chains, ...(old.config.defaultChain ? [old.config.defaultChain] : [])];
  const unchanged = chains.every((chain, index) => chain.routes === routesBefore?.[index]?.routes);
  if (old?.decoded === decoded && unchanged) return old;
  const defaultChain = decoded.defaultChain === undefined ? undefined : chains.pop();
  const { service, limits } = decoded;
  return { side: "inbound", decoded, config: { name: root.key, chains, defaultChain, service, limits } };
}

function chainConfig(chain: DecodedChain, routes: RouteConfiguration): FilterChain {
  const { name, match, tls, http, opaque } = chain;
  return { name, match, tls, filters: http.filters, routes, ...(opaque && { opaque }) };
}

export function routesOf(http: DecodedHttp, tables: Tables): RouteConfiguration | Incomplete {
  if (!("rds" in http.routes)) return http.routes;
  const name = http.routes.rds;
  const entry = tables.route.get(name);
  if (entry?.value !== undefined) return entry.value;
  if (entry?.failed !== undefined)
    return { kind: "invalid", message: `route configuration ${name}: ${entry.failed.message}` };
  if (entry?.state === "DOES_NOT_EXIST") {
    return { kind: "invalid", message: `the listener names route configuration ${name}, which does not exist` };
  }
  return { kind: "waiting", waitingFor: `route configuration ${name}` };
}

export function httpsOf(listener: DecodedListener): readonly DecodedHttp[] {
  return listener.kind === "outbound" ? [listener.http] : chainsOf(listener).map((chain) => chain.http);
}

export function publishedHttps(published: Published | undefined): readonly DecodedHttp[] {
  if (published === undefined) return [];
  return published.side === "outbound" ? [published.http] : httpsOf(published.decoded);
}

function chainsOf({ chains, defaultChain }: DecodedInbound): readonly DecodedChain[] {
  return defaultChain === undefined ? chains : [...chains, defaultChain];
}
