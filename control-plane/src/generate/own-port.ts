import { type AccessPolicy, type MtlsMode, mtlsMode } from "../model/access.ts";
import { type Model, peerPolicies, viewOf } from "../model/model.ts";
import type { PortLimits } from "../model/scope.ts";
import { type Service, hasLabels, socketAddress } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";

/** What holds for a port of a node: by its namespace and labels, and by the services that lead there. */
export interface OwnPort {
  readonly mode: MtlsMode;
  /** Those that apply, in order: the mesh's before the namespace's. */
  readonly policies: readonly AccessPolicy[];
  readonly services: readonly Service[];
  readonly limits: PortLimits | undefined;
}

export function ownPort(model: Model, node: NodeView, address: string, port: number): OwnPort {
  const { mesh, access } = model;
  const { namespace, labels } = node;
  const layers = new Set([mesh.rootNamespace, namespace]);
  return {
    mode: mtlsMode(peerPolicies(model, namespace), labels, port),
    policies: [...layers].flatMap((layer) =>
      (access.get(layer) ?? []).filter((policy) => hasLabels(labels, policy.selector)),
    ),
    services: servicesBehind(model, node, address, port),
    limits: ownLimits(model, node, port),
  };
}

/**
 * By the Sidecar of the workload alone. The connectionPool of a DestinationRule bounds each caller; Istio lets it bound the server too,
 * whose callers together are then held to what one of them may have.
 */
export function ownLimits(model: Model, node: NodeView, port: number): PortLimits | undefined {
  const inbound = viewOf(model, node)?.inbound;
  return inbound?.ports.get(port) ?? inbound?.all;
}

export function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function servicesBehind(model: Model, node: NodeView, address: string, port: number): readonly Service[] {
  const addresses = isUnspecified(address) ? node.addresses : [address];
  const found = addresses.flatMap((each) => model.behind.get(socketAddress(each, port)) ?? []);
  return [...new Set(found)]
    .filter((service) => service.namespace === node.namespace)
    .sort((a, b) => (a.host < b.host ? -1 : 1));
}
