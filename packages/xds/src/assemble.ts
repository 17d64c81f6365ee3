import type { ClusterConfig, EndpointSet, Locality, MeshConfig, RouteConfiguration } from "@trama/engine";

import { clusterNames } from "./cluster-names.ts";
import { ConfigChange } from "./config-change.ts";
import { Needs } from "./needs.ts";
import {
  httpsOf,
  inboundListener,
  outboundListener,
  type Outcome,
  type Published,
  publishedHttps,
  type Resources,
  type Root,
  routesOf,
  type Tables,
} from "./published.ts";
import type { DecodedCluster } from "./resources/cluster.ts";
import { localClusterName } from "./resources/zone-aware.ts";

/** Names of resources of which something new is known, by type. */
export type Touched = Partial<Record<keyof Tables, Iterable<string>>>;

/** What the process asks for now. */
export interface Asked {
  byResource(resource: string): Root | undefined;
  /** Those that it asks for since the last time this was called, or does not any more, by name at the control plane. */
  takeMoved(): Iterable<string>;
}

interface Assembled {
  readonly cluster: DecodedCluster;
  readonly endpoints: EndpointSet;
  /** Of the caller's own cluster, where that counts and is known. */
  readonly local: EndpointSet | undefined;
  readonly config: ClusterConfig;
}

/** `absent`: it is known that there is none, and calls to it, and only those, are answered NO_CLUSTER. */
type Made = Assembled | "absent" | "pending";

interface RootState {
  outcome: Outcome;
  published: Published | undefined;
}

/**
 * Makes one consistent MeshConfig out of resources that arrive one by one, in any order (R26, R27). A listener appears when all
 * that it needs is known: its routes, and each cluster they name with its endpoints, or the word that there is none. Until a
 * new version is complete the old one stays published. What did not change keeps its identity (R14).
 *
 * It also says what is to be asked for: the listeners that the process needs, and whatever those refer to. References of what was last
 * received count, and also those of what is in force, for as long as that is not replaced (R26). The rest is no longer wanted.
 *
 * A process may know thousands of hosts, and each response concerns one or two: only what depends on it is looked at.
 */
export class Assembly {
  #config: MeshConfig = { outbound: new Map(), inbound: new Map(), clusters: new Map() };
  readonly #roots = new Map<string, RootState>();
  /** Those in force, which a published listener names. */
  readonly #clusters = new Map<string, Assembled>();
  /** Of all that are named by somebody; what is missing here is made when it is asked for. */
  readonly #made = new Map<string, Made>();
  /** What the roots need: newest and in force. */
  readonly #routes = new Needs();
  readonly #named = new Needs();
  /** Clusters that the published listeners name. */
  readonly #used = new Needs();
  /** Assignments that clusters need. */
  readonly #endpoints = new Needs();
  readonly #place: Locality | undefined;

  /** `place`: where this process says that it is; what looks at zones needs it. */
  constructor(place?: Locality) {
    this.#place = place?.region || place?.zone || place?.subZone ? place : undefined;
  }

  get config(): MeshConfig {
    return this.#config;
  }

  outcome(resource: string): Outcome {
    return this.#roots.get(resource)?.outcome ?? { kind: "waiting", waitingFor: "the listener" };
  }

  /** Looks at what was touched, and at all that depends on it; true when the configuration changed. Wants and unwants resources. */
  update(asked: Asked, tables: Tables, touched: Touched): boolean {
    const change = new ConfigChange(this.#config);
    const stale = this.#stale(touched);
    const dirty = new Set(asked.takeMoved());
    for (const resource of touched.listener ?? []) if (this.#roots.has(resource)) dirty.add(resource);
    for (const name of touched.route ?? []) for (const resource of this.#routes.of(name)) dirty.add(resource);
    for (const name of stale) {
      this.#made.delete(name);
      for (const resource of this.#named.of(name)) dirty.add(resource);
    }
    for (const resource of dirty) this.#updateRoot(resource, asked.byResource(resource), tables, change);
    for (const name of change.named) stale.add(name);
    for (const name of change.used) stale.add(name);
    for (const name of stale) this.#putInForce(name, tables, change);
    for (const name of stale) this.#needEndpoints(name, tables, change);
    settle(tables.route, this.#routes, change.routes);
    settle(tables.cluster, this.#named, change.named);
    settle(tables.endpoint, this.#endpoints, change.endpoints);
    const config = change.result();
    const changed = config !== this.#config;
    this.#config = config;
    return changed;
  }

  /** Clusters that are to be made anew. */
  #stale(touched: Touched): Set<string> {
    const stale = new Set<string>();
    for (const name of touched.cluster ?? []) if (this.#named.has(name)) stale.add(name);
    for (const name of touched.endpoint ?? []) for (const cluster of this.#endpoints.of(name)) stale.add(cluster);
    return stale;
  }

  #updateRoot(resource: string, root: Root | undefined, tables: Tables, change: ConfigChange): void {
    const before = this.#roots.get(resource);
    if (root === undefined) {
      if (before?.published !== undefined) change.root(before.published, undefined);
      if (before !== undefined) tables.listener.unwant(resource);
      this.#roots.delete(resource);
      return this.#need(resource, [], [], undefined, change);
    }
    if (before === undefined) tables.listener.want(resource);
    const state = this.#assemble(root, before?.published, tables);
    this.#roots.set(resource, state);
    if (state.published !== before?.published) change.root(before?.published, state.published);
    const newest = tables.listener.get(resource)?.value;
    const https = [...(newest === undefined ? [] : httpsOf(newest)), ...publishedHttps(state.published)];
    const current = new Set<RouteConfiguration>();
    for (const http of root.side === "outbound" ? https : []) {
      const found = routesOf(http, tables);
      if (!("kind" in found)) current.add(found);
    }
    const routes = https.flatMap((http) => ("rds" in http.routes ? [http.routes.rds] : []));
    this.#need(resource, routes, [...current], state.published, change);
  }

  #assemble(root: Root, before: Published | undefined, tables: Tables): RootState {
    const entry = tables.listener.get(root.resource);
    if (entry?.value === undefined) {
      const outcome: Outcome =
        entry?.state === "DOES_NOT_EXIST"
          ? { kind: "missing" }
          : entry?.failed !== undefined
            ? { kind: "invalid", message: entry.failed.message }
            : { kind: "waiting", waitingFor: `listener ${root.resource}` };
      return { outcome, published: undefined };
    }
    const next =
      entry.value.kind === "outbound"
        ? outboundListener(root, entry.value, before, tables, (name) => this.#resolve(name, tables))
        : inboundListener(root, entry.value, before, tables);
    // What is incomplete leaves the old one in force (R27).
    if ("side" in next) return { outcome: { kind: "found" }, published: next };
    return { outcome: before === undefined ? next : { kind: "found" }, published: before };
  }

  #need(
    resource: string,
    routes: readonly string[],
    current: readonly RouteConfiguration[],
    published: Published | undefined,
    change: ConfigChange,
  ): void {
    const inForce = published?.side === "outbound" ? clusterNames(published.config.routes) : [];
    const only = current.length === 1 && published?.side === "outbound" && current[0] === published.config.routes;
    this.#routes.set(resource, routes, change.routes);
    this.#named.set(resource, only ? inForce : [...current.flatMap(clusterNames), ...inForce], change.named);
    this.#used.set(resource, inForce, change.used);
  }

  #resolve(name: string, tables: Tables): Made {
    let made = this.#made.get(name);
    if (made === undefined) {
      made = this.#make(name, tables);
      this.#made.set(name, made);
    }
    return made;
  }

  #make(name: string, tables: Tables): Made {
    const entry = tables.cluster.get(name);
    if (entry?.value === undefined) {
      return entry === undefined || entry.state === "REQUESTED" ? "pending" : "absent";
    }
    const before = this.#clusters.get(name);
    const endpoints = endpointsOf(entry.value, tables);
    // Until the endpoints of a changed cluster are known, the old cluster stays as it was.
    if (endpoints === undefined) return before ?? "pending";
    const { zoneAware, ...cluster } = entry.value;
    const local = zoneAware && this.#place && tables.endpoint.get(localClusterName)?.value;
    if (before?.cluster === entry.value && before.endpoints === endpoints && before.local === local) return before;
    const zones = zoneAware && {
      zoneAware: { ...zoneAware, local: local && { locality: this.#place!, endpoints: local } },
    };
    return { cluster: entry.value, endpoints, local, config: { ...cluster, ...zones, name, endpoints } };
  }

  /** The newest that is complete, for as long as a published listener names it. */
  #putInForce(name: string, tables: Tables, change: ConfigChange): void {
    const before = this.#clusters.get(name);
    const made = this.#used.has(name) ? this.#resolve(name, tables) : undefined;
    const now = typeof made === "string" ? undefined : made;
    if (now === before) return;
    change.cluster(name, now?.config);
    if (now !== undefined) this.#clusters.set(name, now);
    else {
      this.#clusters.delete(name);
      // What was made for others may have been the one that was in force.
      this.#made.delete(name);
    }
  }

  /**
   * Nobody waits for the endpoints of the caller's own cluster, where they matter to this one, in its newest version or the one in force:
   * until they are known, zones do not count.
   */
  #needEndpoints(name: string, tables: Tables, change: ConfigChange): void {
    const found: string[] = [];
    if (this.#named.has(name)) {
      const newest = tables.cluster.get(name)?.value;
      const inForce = this.#clusters.get(name)?.cluster;
      for (const each of [newest, inForce])
        if (each !== undefined && "eds" in each.endpoints) found.push(each.endpoints.eds);
      const { zoneAware } = newest ?? inForce ?? {};
      if (this.#place !== undefined && zoneAware !== undefined && zoneAware.routingPercent > 0)
        found.push(localClusterName);
    } else this.#made.delete(name);
    this.#endpoints.set(name, found, change.endpoints);
  }
}

function settle(resources: Resources<unknown>, needs: Needs, moved: ReadonlySet<string>): void {
  for (const name of moved) {
    if (needs.has(name)) resources.want(name);
    else resources.unwant(name);
  }
}

function endpointsOf({ endpoints }: DecodedCluster, tables: Tables): EndpointSet | undefined {
  if (!("eds" in endpoints)) return endpoints;
  const entry = tables.endpoint.get(endpoints.eds);
  if (entry?.value !== undefined) return entry.value;
  // No endpoints is unreachable, not invalid (R43).
  return entry === undefined || entry.state === "REQUESTED" ? undefined : noEndpoints;
}

const noEndpoints: EndpointSet = { name: "", priorities: [], drops: [] };
