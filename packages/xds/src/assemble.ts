import type {
  ClusterConfig,
  EndpointSet,
  FilterChain,
  InboundListener,
  Locality,
  MeshConfig,
  OutboundListener,
  RouteConfiguration,
} from "@trama/engine";

import { clusterNames } from "./cluster-names.ts";
import type { DecodedChain, DecodedHttp } from "./resources/filter-chain.ts";
import type { DecodedCluster } from "./resources/cluster.ts";
import type { DecodedInbound, DecodedListener, DecodedOutbound } from "./resources/listener.ts";
import type { Entry } from "./resource-table.ts";
import { localClusterName } from "./resources/zone-aware.ts";

/** A listener that the process asked for: the root of what is subscribed. */
export interface Root {
  readonly side: "outbound" | "inbound";
  /** Its key in the MeshConfig: `host:port` as asked, or the bound `ip:port`. */
  readonly key: string;
  /** Its name at the control plane. */
  readonly resource: string;
}

export interface Lookup<T> {
  get(name: string): Entry<T> | undefined;
}

export interface Tables {
  readonly listener: Lookup<DecodedListener>;
  readonly route: Lookup<RouteConfiguration>;
  readonly cluster: Lookup<DecodedCluster>;
  readonly endpoint: Lookup<EndpointSet>;
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

interface Assembled {
  readonly cluster: DecodedCluster;
  readonly endpoints: EndpointSet;
  /** Of the caller's own cluster, where that counts and is known. */
  readonly local: EndpointSet | undefined;
  readonly config: ClusterConfig;
}

/**
 * Makes one consistent MeshConfig out of resources that arrive one by one, in any order (R26, R27). A listener appears when all
 * that it needs is known: its routes, and each cluster they name with its endpoints, or the word that there is none. Until a
 * new version is complete the old one stays published. What did not change keeps its identity (R14).
 */
export class Assembly {
  #config: MeshConfig = { outbound: new Map(), inbound: new Map(), clusters: new Map() };
  readonly #published = new Map<string, Published>();
  readonly #outcomes = new Map<string, Outcome>();
  #clusters = new Map<string, Assembled>();
  readonly #place: Locality | undefined;

  /** `place`: where this process says that it is; what looks at zones needs it. */
  constructor(place?: Locality) {
    this.#place = place?.region || place?.zone || place?.subZone ? place : undefined;
  }

  get config(): MeshConfig {
    return this.#config;
  }

  /** What is in force for a root, by its resource name. */
  published(resource: string): Published | undefined {
    return this.#published.get(resource);
  }

  outcome(resource: string): Outcome {
    return this.#outcomes.get(resource) ?? { kind: "waiting", waitingFor: "the listener" };
  }

  /** The endpoints' name that a cluster in force has, for as long as a newer one is not complete. */
  endpointsInForce(cluster: string): string | undefined {
    const endpoints = this.#clusters.get(cluster)?.cluster.endpoints;
    return endpoints !== undefined && "eds" in endpoints ? endpoints.eds : undefined;
  }

  /**
   * Whether the endpoints of the caller's own cluster matter to a cluster, in its newest version or the one in force. Nobody waits for
   * them: until they are known, zones do not count.
   */
  needsLocal(cluster: string, newest: DecodedCluster | undefined): boolean {
    if (this.#place === undefined) return false;
    const { zoneAware } = newest ?? this.#clusters.get(cluster)?.cluster ?? {};
    return zoneAware !== undefined && zoneAware.routingPercent > 0;
  }

  /** Looks at everything anew; true when the configuration changed. */
  update(roots: Iterable<Root>, tables: Tables): boolean {
    const clusters = new ClusterAssembly(tables, this.#clusters, this.#place);
    const outbound = new Map<string, OutboundListener>();
    const inbound = new Map<string, InboundListener>();
    const alive = new Set<string>();
    for (const root of roots) {
      alive.add(root.resource);
      this.#updateRoot(root, tables, clusters);
      const published = this.#published.get(root.resource);
      if (published?.side === "outbound") {
        outbound.set(root.key, published.config);
        clusters.use(clusterNames(published.config.routes));
      } else if (published !== undefined) inbound.set(root.key, published.config);
    }
    for (const resource of this.#outcomes.keys()) {
      if (alive.has(resource)) continue;
      this.#outcomes.delete(resource);
      this.#published.delete(resource);
    }
    this.#clusters = clusters.used;
    return this.#replace(outbound, inbound, clusters.configs());
  }

  #updateRoot(root: Root, tables: Tables, clusters: ClusterAssembly): void {
    const entry = tables.listener.get(root.resource);
    const before = this.#published.get(root.resource);
    const outcome = (value: Outcome): void => void this.#outcomes.set(root.resource, value);
    if (entry?.value === undefined) {
      this.#published.delete(root.resource);
      if (entry?.state === "DOES_NOT_EXIST") return outcome({ kind: "missing" });
      if (entry?.failed !== undefined) return outcome({ kind: "invalid", message: entry.failed.message });
      return outcome({ kind: "waiting", waitingFor: `listener ${root.resource}` });
    }
    const next =
      entry.value.kind === "outbound"
        ? outboundListener(root, entry.value, before, tables, clusters)
        : inboundListener(root, entry.value, before, tables);
    if ("side" in next) this.#published.set(root.resource, next);
    // What is incomplete leaves the old one in force (R27).
    outcome("side" in next || before !== undefined ? { kind: "found" } : next);
  }

  #replace(
    outbound: Map<string, OutboundListener>,
    inbound: Map<string, InboundListener>,
    clusters: Map<string, ClusterConfig>,
  ): boolean {
    const old = this.#config;
    const config: MeshConfig = {
      outbound: same(old.outbound, outbound) ? old.outbound : outbound,
      inbound: same(old.inbound, inbound) ? old.inbound : inbound,
      clusters: same(old.clusters, clusters) ? old.clusters : clusters,
    };
    if (config.outbound === old.outbound && config.inbound === old.inbound && config.clusters === old.clusters)
      return false;
    this.#config = config;
    return true;
  }
}

function same<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

type Incomplete = Exclude<Outcome, { kind: "found" } | { kind: "missing" }>;

// ── listeners ────────────────────────────────────────────────────────────────────────────────────────────────────

function outboundListener(
  root: Root,
  { http }: DecodedOutbound,
  before: Published | undefined,
  tables: Tables,
  clusters: ClusterAssembly,
): Published | Incomplete {
  const routes = routesOf(http, tables);
  if ("kind" in routes) return routes;
  for (const name of clusterNames(routes)) {
    if (clusters.resolve(name) === "pending") return { kind: "waiting", waitingFor: `cluster ${name}` };
  }
  if (before?.side === "outbound" && before.http === http && before.config.routes === routes) return before;
  return { side: "outbound", http, config: { name: root.key, filters: http.filters, routes } };
}

function inboundListener(
  root: Root,
  decoded: DecodedInbound,
  before: Published | undefined,
  tables: Tables,
): Published | Incomplete {
  const old = before?.side === "inbound" ? before : undefined;
  const chains: FilterChain[] = [];
  for (const chain of [...decoded.chains, ...(decoded.defaultChain ? [decoded.defaultChain] : [])]) {
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
  return { name: chain.name, match: chain.match, tls: chain.tls, filters: chain.http.filters, routes };
}

function routesOf(http: DecodedHttp, tables: Tables): RouteConfiguration | Incomplete {
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

// ── clusters ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Clusters of one update, each made at most once. */
class ClusterAssembly {
  /** Those that a published listener names. */
  readonly used: Map<string, Assembled> = new Map();
  readonly #tables: Tables;
  readonly #before: ReadonlyMap<string, Assembled>;
  readonly #place: Locality | undefined;
  readonly #made = new Map<string, Assembled | "absent" | "pending">();

  constructor(tables: Tables, before: ReadonlyMap<string, Assembled>, place: Locality | undefined) {
    this.#tables = tables;
    this.#before = before;
    this.#place = place;
  }

  /** `absent`: it is known that there is none, and calls to it, and only those, are answered NO_CLUSTER. */
  resolve(name: string): Assembled | "absent" | "pending" {
    let made = this.#made.get(name);
    if (made === undefined) {
      made = this.#make(name);
      this.#made.set(name, made);
    }
    return made;
  }

  use(names: Iterable<string>): void {
    for (const name of names) {
      const cluster = this.resolve(name);
      if (typeof cluster !== "string") this.used.set(name, cluster);
    }
  }

  configs(): Map<string, ClusterConfig> {
    return new Map(Array.from(this.used, ([name, { config }]) => [name, config]));
  }

  #make(name: string): Assembled | "absent" | "pending" {
    const entry = this.#tables.cluster.get(name);
    if (entry?.value === undefined) {
      return entry === undefined || entry.state === "REQUESTED" ? "pending" : "absent";
    }
    const before = this.#before.get(name);
    const endpoints = this.#endpoints(entry.value);
    // Until the endpoints of a changed cluster are known, the old cluster stays as it was.
    if (endpoints === undefined) return before ?? "pending";
    const { zoneAware, ...cluster } = entry.value;
    const local = zoneAware && this.#place && this.#tables.endpoint.get(localClusterName)?.value;
    if (before?.cluster === entry.value && before.endpoints === endpoints && before.local === local) return before;
    const zones = zoneAware && {
      zoneAware: { ...zoneAware, local: local && { locality: this.#place!, endpoints: local } },
    };
    return { cluster: entry.value, endpoints, local, config: { ...cluster, ...zones, name, endpoints } };
  }

  #endpoints({ endpoints }: DecodedCluster): EndpointSet | undefined {
    if (!("eds" in endpoints)) return endpoints;
    const entry = this.#tables.endpoint.get(endpoints.eds);
    if (entry?.value !== undefined) return entry.value;
    // No endpoints is unreachable, not invalid (R43).
    return entry === undefined || entry.state === "REQUESTED" ? undefined : noEndpoints;
  }
}

const noEndpoints: EndpointSet = { name: "", priorities: [], drops: [] };
