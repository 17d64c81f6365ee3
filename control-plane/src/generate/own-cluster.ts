import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";

import { getOrMake } from "../model/host-index.ts";
import { type Model, endpointsBehind, peerPolicies } from "../model/model.ts";
import type { Service } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import type { Recipe } from "./cache.ts";
import { assignment } from "./endpoints.ts";
import { type Placing, inZones } from "./locality.ts";
import { acrossNetworks } from "./networks.ts";
import { leadsHere } from "./own-port.ts";
import { wireResource } from "./wire.ts";

/** By this name callers that look at zones ask for their own like, as those of Istio do (Envoy `local_cluster_name`). */
export const localClusterName = "local_cluster";

/**
 * The endpoints of the service that a node belongs to, by zone; the first by name, if there are several. Those of its region, for only
 * they call what the node calls first. A node without a service has no such resource, and then zones do not count for it; an Envoy has one
 * without endpoints, which says the same: it has the cluster from its bootstrap and would wait for it to come.
 */
export function localCluster(model: Model, node: NodeView): Recipe | undefined {
  const { namespace, addresses, locality, kind } = node;
  const own = addresses
    .flatMap((address) => servicesAt(model, address))
    .filter((service) => service.namespace === namespace && leadsHere(model, node, service, addresses))
    .sort((a, b) => (a.host < b.host ? -1 : 1));
  const [service] = own;
  const port = service?.ports[0];
  if (service === undefined || port === undefined) return kind === "envoy" ? nobody : undefined;
  const endpoints = endpointsBehind(model, service);
  const peers = peerPolicies(model, namespace);
  const zones: Placing = {
    key: "",
    place: (groups) =>
      inZones(
        groups.filter((group) => group.locality.region === locality.region),
        locality,
      ),
  };
  const placed =
    acrossNetworks(zones, { mesh: model.mesh, node, port, endpoints, peers, secured: () => true }) ?? zones;
  return {
    variant: JSON.stringify([service.host, locality]) + placed.key,
    inputs: [service, endpoints, peers.namespace, peers.root],
    shared: false,
    make: () => assignment({ name: localClusterName, port, endpoints, subset: {}, peers, placing: placed }),
  };
}

const nobody: Recipe = {
  variant: "",
  inputs: [],
  shared: false,
  make: () => wireResource(ClusterLoadAssignmentSchema, localClusterName, { clusterName: localClusterName }),
};

/** `Model.behind` by address alone; made once for each. */
const indexes = new WeakMap<Model["behind"], ReadonlyMap<string, readonly Service[]>>();

function servicesAt({ behind }: Model, address: string): readonly Service[] {
  let index = indexes.get(behind);
  if (index === undefined) {
    const made = new Map<string, Service[]>();
    for (const [where, services] of behind) {
      const host = where.slice(0, where.lastIndexOf(":")).replace(/^\[|\]$/g, "");
      getOrMake(made, host, () => []).push(...services);
    }
    indexes.set(behind, (index = made));
  }
  return index.get(address) ?? [];
}
