import { isIP } from "node:net";

import type { DestinationPolicy } from "../model/destination.ts";
import { type Claim, HostIndex, getOrMake } from "../model/host-index.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { Model } from "../model/model.ts";
import { Reuse, sameItems } from "../model/reuse.ts";
import type { RouteTable } from "../model/route.ts";
import type { Scope } from "../model/scope.ts";
import { type Endpoint, type Service, endpointPort, itself, labelsKey, socketAddress } from "../model/service.ts";
import type { Visibility } from "../model/visibility.ts";
import { type Kind, kinds } from "../sources/istio/kinds.ts";
import type { Content } from "../sources/object.ts";
import { accessPolicy } from "./istio/authorization-policy.ts";
import { type Lookup, type OwnedRule, ownedRules } from "./istio/delegate.ts";
import { destinationRule, join } from "./istio/destination-rule.ts";
import { peerPolicy } from "./istio/peer-authentication.ts";
import { services } from "./istio/service-entry.ts";
import { scope } from "./istio/sidecar.ts";
import { routeTable } from "./istio/virtual-service.ts";
import { endpoint, workloadLabels } from "./istio/workload-entry.ts";
import { type WorkloadIndex, indexWorkloads } from "./workload-index.ts";

/**
 * Contents → model. What an unchanged content became before is taken over as the same object; lists and joins likewise, so
 * that a change is seen by identity, exactly where it is.
 */
export class Translator {
  readonly mesh: MeshSettings;
  readonly #made = new WeakMap<Content, unknown>();
  readonly #reuse = new Reuse();
  readonly #tables = new WeakMap<Content, { readonly owners: readonly Content[]; readonly table: RouteTable }>();
  #virtualServices: ReadonlyMap<string, Content<"VirtualService">> = new Map();
  #selected: WorkloadIndex = () => [];

  constructor(mesh: MeshSettings) {
    this.mesh = mesh;
  }

  /** Each part is the very one of the last build if nothing in it changed. */
  model(contents: readonly Content[]): Model {
    const of = byKind(contents);
    const reuse = this.#reuse;
    this.#selected = reuse.of("workloads", of.WorkloadEntry, indexWorkloads);
    const found = this.#services(of.ServiceEntry);
    const services = [...found.keys()];
    const parts = [...found].flat();
    this.#virtualServices = new Map(of.VirtualService.map((each) => [`${each.namespace}/${each.name}`, each]));
    const tables = of.VirtualService.map((content) => this.routeTable(content));
    const general = of.DestinationRule.filter(({ spec }) => spec.workloadSelector === undefined);
    const model: Model = {
      mesh: this.mesh,
      services: reuse.of("services", services, () => new HostIndex(services.map((value) => claim(value.host, value)))),
      endpoints: reuse.of("endpoints", parts, () => found),
      routes: reuse.of("routes", tables, () => new HostIndex(tables.flatMap(claims))),
      destinations: this.#destinations(general),
      selecting: this.#selecting(of.DestinationRule.filter((content) => !general.includes(content))),
      peers: this.#listed("peers", of.PeerAuthentication, peerPolicy),
      access: this.#listed("access", of.AuthorizationPolicy, accessPolicy),
      scopes: this.#listed("scopes", of.Sidecar, (content) => this.scope(content)),
      behind: reuse.of("behind", parts, () => behind(found)),
    };
    reuse.turn();
    return model;
  }

  /** The WorkloadEntries that an entry selects in the newest model. */
  selected(entry: Content<"ServiceEntry">): readonly Content<"WorkloadEntry">[] {
    return this.#selected(entry);
  }

  /** What the objects of a file become, for whoever wants to check them: the very parts of the model. */
  routeTable(content: Content<"VirtualService">): RouteTable {
    const rules = this.rules(content);
    const owners = [...new Set(rules.map(({ owner }) => owner))];
    const made = this.#tables.get(content);
    if (made !== undefined && sameItems(made.owners, owners)) return made.table;
    const table = routeTable(content, rules, this.mesh);
    this.#tables.set(content, { owners, table });
    return table;
  }

  /** The rules of an object and of what it delegates to, in the newest model. */
  rules(content: Content<"VirtualService">): readonly OwnedRule[] {
    return ownedRules(content, this.virtualService);
  }

  /** By namespace and name, in the newest model. */
  readonly virtualService: Lookup = (namespace, name) => this.#virtualServices.get(`${namespace}/${name}`);

  destination(content: Content<"DestinationRule">): DestinationPolicy {
    return this.#once(content, () => destinationRule(content, this.mesh));
  }

  services(content: Content<"ServiceEntry">): readonly Service[] {
    return this.#once(content, () => services(content, this.mesh));
  }

  scope(content: Content<"Sidecar">): Scope {
    return this.#once(content, () => scope(content, this.mesh));
  }

  #services(entries: readonly Content<"ServiceEntry">[]): Map<Service, readonly Endpoint[]> {
    const found = new Map<Service, readonly Endpoint[]>();
    for (const entry of entries) {
      const endpoints = this.#endpoints(entry, this.#selected(entry));
      for (const service of this.services(entry)) {
        const own = endpoints.length > 0 || service.resolution === "static" ? endpoints : this.#named(entry, service);
        found.set(service, own);
      }
    }
    return found;
  }

  #endpoints(entry: Content<"ServiceEntry">, selected: readonly Content<"WorkloadEntry">[]): readonly Endpoint[] {
    const { namespace, name, spec } = entry;
    const internal = spec.location === "MESH_INTERNAL";
    return this.#reuse.of(`endpoints ${namespace}/${name}`, [entry, ...selected], () => [
      ...spec.endpoints.map((each) =>
        endpoint(each, { namespace, name: "", labels: each.labels }, internal, this.mesh),
      ),
      ...selected.map((workload) =>
        endpoint(
          workload.spec,
          { namespace, name: workload.name, labels: workloadLabels(workload) },
          internal,
          this.mesh,
        ),
      ),
    ]);
  }

  /** Resolved by name without endpoints: the service's own host is the name. */
  #named({ namespace, name }: Content<"ServiceEntry">, service: Service): readonly Endpoint[] {
    const { host } = service;
    // A wildcard is no name: what is called under it has one.
    if (host.startsWith("*")) return [];
    return this.#reuse.of(`endpoints ${namespace}/${name} ${host}`, [service], () => [itself(service)]);
  }

  #destinations(contents: readonly Content<"DestinationRule">[]): Map<string, HostIndex<DestinationPolicy>> {
    const groups = Map.groupBy(
      contents.map((content) => this.destination(content)),
      ({ namespace, host }) => `${namespace}/${host}`,
    );
    const joined = [...groups].map(([key, policies]) => this.#reuse.of(`destination ${key}`, policies, join));
    return this.#reuse.of("destinations", joined, () => {
      const byNamespace = Map.groupBy(joined, ({ namespace }) => namespace);
      return new Map([...byNamespace].map(([namespace, policies]) => [namespace, indexByHost(policies)]));
    });
  }

  /** Those for some workloads only: several for the same host and labels are joined like those for all. */
  #selecting(contents: readonly Content<"DestinationRule">[]): Map<string, readonly DestinationPolicy[]> {
    const groups = Map.groupBy(
      contents.map((content) => this.destination(content)),
      ({ namespace, host, selector }) => `${namespace}/${host} ${labelsKey(selector)}`,
    );
    const joined = [...groups].map(([key, policies]) => this.#reuse.of(`selecting ${key}`, policies, join));
    return this.#reuse.of("selecting", joined, () => Map.groupBy(joined, ({ namespace }) => namespace));
  }

  /** By namespace; the lists are those of the last build when nothing in them changed. */
  #listed<K extends Kind, T extends { readonly namespace: string }>(
    what: string,
    contents: readonly Content<K>[],
    translate: (content: Content<K>) => T,
  ): Map<string, readonly T[]> {
    const all = contents.map((content) => this.#once(content, () => translate(content)));
    const lists = [...Map.groupBy(all, ({ namespace }) => namespace)].map(
      ([namespace, list]) => [namespace, this.#reuse.list(`${what} ${namespace}`, list)] as const,
    );
    return this.#reuse.of(what, all, () => new Map(lists));
  }

  #once<T>(content: Content, make: () => T): T {
    const made = this.#made.get(content) as T | undefined;
    if (made !== undefined) return made;
    const value = make();
    this.#made.set(content, value);
    return value;
  }
}

function indexByHost(policies: readonly DestinationPolicy[]): HostIndex<DestinationPolicy> {
  return new HostIndex(policies.map((value) => claim(value.host, value)));
}

function claims(table: RouteTable): readonly Claim<RouteTable>[] {
  return table.hosts.map((host) => claim(host, table));
}

function claim<T extends { readonly visible: Visibility }>(host: string, value: T): Claim<T> {
  return { host, visible: value.visible, value };
}

type ByKind = { readonly [K in Kind]: readonly Content<K>[] };

/** Each list by namespace and name: files have no time of creation that could decide instead (istio-api §1.3). */
function byKind(contents: readonly Content[]): ByKind {
  const lists = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, [] as Content[]])) as Record<
    Kind,
    Content[]
  >;
  for (const content of contents) lists[content.kind].push(content);
  for (const list of Object.values(lists)) list.sort(compareNames);
  return lists as unknown as ByKind;
}

function compareNames(a: Content, b: Content): number {
  if (a.namespace !== b.namespace) return a.namespace < b.namespace ? -1 : 1;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function behind(found: ReadonlyMap<Service, readonly Endpoint[]>): Map<string, readonly Service[]> {
  const index = new Map<string, Service[]>();
  for (const [service, endpoints] of found) {
    for (const each of endpoints) {
      if (isIP(each.address) === 0) continue;
      for (const port of service.ports) {
        const list = getOrMake(index, socketAddress(each.address, endpointPort(each, port)), () => []);
        if (!list.includes(service)) list.push(service);
      }
    }
  }
  return index;
}
