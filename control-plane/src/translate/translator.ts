import type { AccessPolicy, PeerPolicy } from "../model/access.ts";
import type { DestinationPolicy } from "../model/destination.ts";
import { HostIndex, getOrMake } from "../model/host-index.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { Model } from "../model/model.ts";
import { Reuse } from "../model/reuse.ts";
import type { RouteTable } from "../model/route.ts";
import { type Endpoint, type Service, endpointPort, socketAddress } from "../model/service.ts";
import { type Kind, kinds } from "../sources/istio/kinds.ts";
import type { Content } from "../sources/object.ts";
import { accessPolicy } from "./istio/authorization-policy.ts";
import { destinationRule, join } from "./istio/destination-rule.ts";
import { peerPolicy } from "./istio/peer-authentication.ts";
import { services } from "./istio/service-entry.ts";
import { routeTable } from "./istio/virtual-service.ts";
import { endpoint, workloadLabels } from "./istio/workload-entry.ts";
import { indexWorkloads } from "./workload-index.ts";

/**
 * Contents → model. What an unchanged content became before is taken over as the same object; lists and joins likewise, so
 * that a change is seen by identity, exactly where it is.
 */
export class Translator {
  readonly mesh: MeshSettings;
  readonly #made = new WeakMap<Content, unknown>();
  readonly #reuse = new Reuse();

  constructor(mesh: MeshSettings) {
    this.mesh = mesh;
  }

  model(contents: readonly Content[]): Model {
    const of = byKind(contents);
    const found = this.#services(of.ServiceEntry, of.WorkloadEntry);
    const model: Model = {
      mesh: this.mesh,
      services: new HostIndex([...found.keys()].map((value) => ({ host: value.host, visible: value.visible, value }))),
      endpoints: found,
      routes: new HostIndex(this.#routes(of.VirtualService)),
      destinations: this.#destinations(of.DestinationRule),
      peers: this.#listed("peers", of.PeerAuthentication, peerPolicy),
      access: this.#listed("access", of.AuthorizationPolicy, accessPolicy),
      behind: behind(found),
    };
    this.#reuse.turn();
    return model;
  }

  /** What the objects of a file become, for whoever wants to check them: the very parts of the model. */
  routeTable(content: Content<"VirtualService">): RouteTable {
    return this.#once(content, () => routeTable(content, this.mesh));
  }

  destination(content: Content<"DestinationRule">): DestinationPolicy {
    return this.#once(content, () => destinationRule(content, this.mesh));
  }

  services(content: Content<"ServiceEntry">): readonly Service[] {
    return this.#once(content, () => services(content, this.mesh));
  }

  #services(
    entries: readonly Content<"ServiceEntry">[],
    workloads: readonly Content<"WorkloadEntry">[],
  ): Map<Service, readonly Endpoint[]> {
    const selected = indexWorkloads(workloads);
    const found = new Map<Service, readonly Endpoint[]>();
    for (const entry of entries) {
      const endpoints = this.#endpoints(entry, selected(entry));
      for (const service of this.services(entry)) found.set(service, endpoints);
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

  *#routes(contents: readonly Content<"VirtualService">[]): Iterable<{
    host: string;
    visible: RouteTable["visible"];
    value: RouteTable;
  }> {
    for (const content of contents) {
      const value = this.routeTable(content);
      for (const host of value.hosts) yield { host, visible: value.visible, value };
    }
  }

  #destinations(contents: readonly Content<"DestinationRule">[]): Map<string, readonly DestinationPolicy[]> {
    const groups = Map.groupBy(
      contents.map((content) => this.destination(content)),
      ({ namespace, host }) => `${namespace}/${host}`,
    );
    const joined = new Map<string, DestinationPolicy[]>();
    for (const [key, policies] of groups) {
      const policy = this.#reuse.of(`destination ${key}`, policies, join);
      getOrMake(joined, policy.namespace, () => []).push(policy);
    }
    return joined;
  }

  /** By namespace; the lists are those of the last build when nothing in them changed. */
  #listed<K extends Kind, T extends PeerPolicy | AccessPolicy>(
    what: string,
    contents: readonly Content<K>[],
    translate: (content: Content<K>) => T,
  ): Map<string, readonly T[]> {
    const lists = Map.groupBy(
      contents.map((content) => this.#once(content, () => translate(content))),
      ({ namespace }) => namespace,
    );
    return new Map([...lists].map(([namespace, list]) => [namespace, this.#reuse.list(`${what} ${namespace}`, list)]));
  }

  #once<T>(content: Content, make: () => T): T {
    const made = this.#made.get(content) as T | undefined;
    if (made !== undefined) return made;
    const value = make();
    this.#made.set(content, value);
    return value;
  }
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
      for (const port of service.ports) {
        const list = getOrMake(index, socketAddress(each.address, endpointPort(each, port)), () => []);
        if (!list.includes(service)) list.push(service);
      }
    }
  }
  return index;
}
