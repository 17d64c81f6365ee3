import type { AccessPolicy, PeerPolicies, PeerPolicy } from "./access.ts";
import type { DestinationPolicy } from "./destination.ts";
import { type HostIndex, covers, getOrMake } from "./host-index.ts";
import type { MeshSettings } from "./mesh.ts";
import type { RouteTable } from "./route.ts";
import { type Scope, type Scopes, scopeOf, sees } from "./scope.ts";
import { type Endpoint, type Service, hasLabels, itself } from "./service.ts";

/**
 * The whole mesh as plain data, whatever the policy was written in. Immutable, and parts that did not change are the same
 * objects as before.
 */
export interface Model {
  readonly mesh: MeshSettings;
  readonly services: HostIndex<Service>;
  readonly endpoints: ReadonlyMap<Service, readonly Endpoint[]>;
  readonly routes: HostIndex<RouteTable>;
  /** By namespace; several for one host are joined already. */
  readonly destinations: ReadonlyMap<string, HostIndex<DestinationPolicy>>;
  /** By namespace: those that are for some calling workloads only. */
  readonly selecting: ReadonlyMap<string, readonly DestinationPolicy[]>;
  /** By namespace, each list by name. */
  readonly peers: ReadonlyMap<string, readonly PeerPolicy[]>;
  readonly access: ReadonlyMap<string, readonly AccessPolicy[]>;
  /** By namespace. */
  readonly scopes: Scopes;
  /** `ip:port` of a workload → the services that lead there. */
  readonly behind: ReadonlyMap<string, readonly Service[]>;
}

/**
 * Namespace of the client, then of the service, then the root namespace: the first that has a matching rule decides alone,
 * subsets included; a rule that selects the client goes before all (istio-api §3.1).
 */
export function destinationPolicy(
  model: Pick<Model, "mesh" | "destinations" | "selecting">,
  service: Service,
  { namespace: client, labels }: Viewer,
): DestinationPolicy | undefined {
  const { rootNamespace } = model.mesh;
  return (
    selectingPolicy(model.selecting.get(client) ?? [], service.host, labels) ??
    model.destinations.get(client)?.find(service.host, client) ??
    (service.namespace === client
      ? undefined
      : model.destinations.get(service.namespace)?.find(service.host, client)) ??
    model.destinations.get(rootNamespace)?.find(service.host, client)
  );
}

/** An exact host before the longest wildcard, as everywhere; of several for one host the first by name. */
function selectingPolicy(
  policies: readonly DestinationPolicy[],
  host: string,
  labels: Viewer["labels"],
): DestinationPolicy | undefined {
  let found: DestinationPolicy | undefined;
  for (const policy of policies) {
    if (!covers(policy.host, host) || !hasLabels(labels, policy.selector)) continue;
    if (found === undefined || specificity(policy.host) > specificity(found.host)) found = policy;
  }
  return found;
}

function specificity(host: string): number {
  return host.startsWith("*") ? host.length : Infinity;
}

/** Always the same list: what was made from it is not made again. */
const nobody: readonly PeerPolicy[] = [];

export function peerPolicies(model: Pick<Model, "mesh" | "peers">, namespace: string): PeerPolicies {
  return {
    namespace: model.peers.get(namespace) ?? nobody,
    root: model.peers.get(model.mesh.rootNamespace) ?? nobody,
  };
}

/** Who looks at the mesh. */
interface Viewer {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What the workload sees of the mesh; `undefined`: all that is exported to it. */
export function viewOf(model: Pick<Model, "mesh" | "scopes">, viewer: Viewer): Scope | undefined {
  return scopeOf(model.scopes, model.mesh.rootNamespace, viewer);
}

/** The service that a full host name is to a workload, if it sees one. */
export function visibleService(
  model: Pick<Model, "mesh" | "scopes" | "services">,
  viewer: Viewer,
  host: string,
): Service | undefined {
  const service = serviceOf(model, viewer.namespace, host);
  return service !== undefined && sees(viewOf(model, viewer), service, viewer.namespace) ? service : undefined;
}

/** Hosts under one wildcard that are kept; callers choose them. */
const maxNamed = 10_000;
const named = new WeakMap<Service, Map<string, Service>>();
/** What such a service was made from, and its endpoint if nothing else says where it is. */
const unnamed = new WeakMap<Service, { readonly service: Service; readonly itself: readonly Endpoint[] }>();

/**
 * The service that a full host name is to callers of a namespace. Under a wildcard it is that service by the very name that is called,
 * and the same object each time.
 */
export function serviceOf(model: Pick<Model, "services">, namespace: string, host: string): Service | undefined {
  const service = model.services.find(host, namespace);
  if (service === undefined || service.host === host || host.startsWith("*")) return service;
  const known = getOrMake(named, service, () => new Map<string, Service>());
  let own = known.get(host);
  if (own === undefined) {
    own = { ...service, host, name: host };
    unnamed.set(own, { service, itself: [itself(own)] });
    if (known.size >= maxNamed) for (const [oldest] of known) if (known.delete(oldest)) break;
    known.set(host, own);
  }
  return own;
}

export function endpointsBehind(model: Pick<Model, "endpoints">, service: Service): readonly Endpoint[] {
  const under = unnamed.get(service);
  const found = model.endpoints.get(under?.service ?? service) ?? none;
  return found.length === 0 && under !== undefined && service.resolution !== "static" ? under.itself : found;
}

const none: readonly Endpoint[] = [];

/** The hosts of services that a host name of a rule stands for: itself, or what a wildcard covers. */
export function hostsOf(model: Pick<Model, "services">, pattern: string): readonly string[] {
  if (!pattern.startsWith("*")) return model.services.all(pattern).length > 0 ? [pattern] : [];
  return [...model.services.hosts(), ...model.services.wildcards()].filter((host) => covers(pattern, host));
}
