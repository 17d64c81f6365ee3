import type { PeerPolicies } from "../model/access.ts";
import type { TrafficPolicy } from "../model/destination.ts";
import { getOrMake } from "../model/host-index.ts";
import { type Gateway, networkLabel } from "../model/networks.ts";
import {
  type Endpoint,
  type Locality,
  type ServicePort,
  endpointPort,
  isPipe,
  itself,
  socketAddress,
} from "../model/service.ts";
import type { Model } from "../model/model.ts";
import type { NodeView } from "../snapshot.ts";
import { acceptsMesh } from "./endpoints.ts";
import { type Group, type Placing, withoutGaps } from "./locality.ts";
import type { Target } from "./target.ts";

export interface Crossing {
  readonly mesh: Model["mesh"];
  /** Who calls. */
  readonly node: Pick<NodeView, "network">;
  readonly port: ServicePort;
  /** Of the whole service. */
  readonly endpoints: readonly Endpoint[];
  readonly peers: PeerPolicies;
  /** The caller speaks the mesh's TLS to whoever takes it. Asked only where somebody is behind a gateway. */
  readonly secured: () => boolean;
}

/**
 * The same for callers of whom some are in other networks than the endpoints (Istio's `EndpointsByNetworkFilter`): what is in the caller's
 * own network, or in one without gateways, stays as it is; the rest gives way to the gateways of its network, in its own locality and with
 * its weight. Gateways know whom a connection is for by its SNI alone, which is that of a subset of a host: so they stand for endpoints of
 * the subset, and only for those that take the mesh's TLS. `inner` itself where no endpoint is behind a gateway.
 */
export function acrossNetworks(inner: Placing | undefined, crossing: Crossing): Placing | undefined {
  const { gateways } = crossing.mesh.networks;
  if (gateways.size === 0) return inner;
  const behind = networksOf(crossing.endpoints).filter((network) => gateways.has(network));
  if (behind.length === 0) return inner;
  const { node, port } = crossing;
  const secured = crossing.secured();
  const { network = "" } = node;
  const far = network === "" ? [] : behind.filter((each) => each !== network);
  return {
    key: JSON.stringify([inner?.key, network, secured]),
    place(groups) {
      const ways = new Map(far.map((each) => [each, gateways.get(each) ?? []]));
      const scale = scaleFor(groups, [...ways.values()]);
      const reached = groups.flatMap((group) => reach(group, ways, scale, secured, crossing));
      return once(inner?.place(reached) ?? reached, port);
    },
  };
}

/** Whether a caller's connections to endpoints that take the mesh's TLS are made by it: the rule of `transport` in clusters.ts. */
export function meshTls(
  { service, port, opaque }: Pick<Target, "service" | "port" | "opaque">,
  { tls }: Partial<TrafficPolicy>,
  endpoints: readonly Endpoint[],
  kind: NodeView["kind"],
): boolean {
  if (tls !== undefined) return tls.mode === "mesh";
  if ((port.protocol === "https" && !opaque) || !service.internal) return false;
  return kind !== "grpc" || endpoints.every(({ mesh }) => mesh);
}

/** A list never changes. */
const found = new WeakMap<readonly Endpoint[], readonly string[]>();

function networksOf(endpoints: readonly Endpoint[]): readonly string[] {
  let names = found.get(endpoints);
  if (names === undefined) found.set(endpoints, (names = [...new Set(endpoints.map(({ network }) => network))]));
  return names;
}

/** Weights are whole numbers: with this factor each can be divided by any number of gateways there is. */
function scaleFor(groups: readonly Group[], ways: readonly (readonly Gateway[])[]): number {
  const scale = ways.reduce((product, { length }) => (product * length) / divisor(product, length), 1);
  const sum = groups.reduce((total, { weight }) => total + weight, 0);
  // Clients refuse more for a priority (R43).
  return sum * scale > maxWeight / 2 ? 1 : scale;
}

const maxWeight = 4_294_967_295;

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}

function reach(
  { locality, priority, endpoints }: Group,
  ways: ReadonlyMap<string, readonly Gateway[]>,
  scale: number,
  secured: boolean,
  { port, peers }: Crossing,
): readonly Group[] {
  const direct: Endpoint[] = [];
  const weights = new Map<string, number>();
  for (const endpoint of endpoints) {
    const { network } = endpoint;
    const weight = endpoint.weight * scale;
    if (!ways.has(network)) {
      if (endpoint.address !== "") direct.push(scale === 1 ? endpoint : { ...endpoint, weight });
    } else if (secured && acceptsMesh(endpoint, endpointPort(endpoint, port), peers))
      weights.set(network, (weights.get(network) ?? 0) + weight);
  }
  const instead = [...weights].flatMap(([network, weight]) => {
    const all = ways.get(network) ?? [];
    return all.map((gateway) => standIn(gateway, network, locality, Math.ceil(weight / all.length), port));
  });
  const reached = [...direct, ...instead];
  if (reached.length === 0) return [];
  return [{ locality, priority, weight: reached.reduce((sum, { weight }) => sum + weight, 0), endpoints: reached }];
}

function standIn(
  { address, port: number }: Gateway,
  network: string,
  locality: Locality,
  weight: number,
  port: ServicePort,
): Endpoint {
  return {
    ...itself({ host: address, namespace: "" }),
    ports: { [port.name]: number },
    labels: { [networkLabel]: network },
    network,
    gateway: true,
    locality,
    weight,
  };
}

/**
 * An address stands in an assignment once: gRPC's libraries and ours refuse all of it for a second one (R43), and Envoy keeps the first. Where
 * endpoints of several localities are behind one gateway it stands in the nearest, and takes the shares that it has elsewhere in that priority
 * along. Where networks have the same addresses, a caller who does not say in which it is gets the first.
 */
function once(groups: readonly Group[], port: ServicePort): readonly Group[] {
  const kept = groups.map(({ weight }) => ({ weight, endpoints: [] as Endpoint[] }));
  const first = new Map<string, { readonly group: number; readonly at: number }>();
  for (const [index, { priority, weight, endpoints }] of groups.entries()) {
    const own = kept[index]!;
    const sum = endpoints.reduce((total, each) => total + each.weight, 0);
    for (const endpoint of endpoints) {
      const { address } = endpoint;
      const key = isPipe(address) ? address : socketAddress(address, endpointPort(endpoint, port));
      const before = getOrMake(first, key, () => ({ group: index, at: own.endpoints.push(endpoint) - 1 }));
      if (before.group === index && own.endpoints[before.at] === endpoint) continue;
      const share = Math.round((weight * endpoint.weight) / sum);
      own.weight -= share;
      const there = kept[before.group]!;
      const twin = there.endpoints[before.at]!;
      if (!endpoint.gateway || groups[before.group]?.priority !== priority) continue;
      there.endpoints[before.at] = { ...twin, weight: twin.weight + endpoint.weight };
      there.weight += share;
    }
  }
  return withoutGaps(
    groups.flatMap((group, index) => {
      const { weight, endpoints } = kept[index]!;
      return endpoints.length === 0 ? [] : [{ ...group, weight: Math.max(1, weight), endpoints }];
    }),
  );
}
