import { type AccessPolicy, type MtlsMode, mtlsMode } from "../model/access.ts";
import { type Model, endpointsBehind, peerPolicies, viewOf } from "../model/model.ts";
import { isAlwaysOpaque } from "../model/route.ts";
import type { PortLimits } from "../model/scope.ts";
import { type Endpoint, type Service, endpointPort, hasLabels, socketAddress } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";

/** What holds for a port of a node: by its namespace and labels, and by the services that lead there. */
export interface OwnPort {
  readonly mode: MtlsMode;
  /** Those that apply, in order: the mesh's before the namespace's. */
  readonly policies: readonly AccessPolicy[];
  readonly services: readonly Service[];
  /** All that is served there is ports of TCP: no request is looked for in what comes. */
  readonly opaque: boolean;
  readonly limits: PortLimits | undefined;
}

export function ownPort(model: Model, node: NodeView, address: string, port: number): OwnPort {
  const { mesh, access } = model;
  const { namespace, labels } = node;
  const services = servicesBehind(model, node, address, port);
  const layers = new Set([mesh.rootNamespace, namespace]);
  return {
    mode: mtlsMode(peerPolicies(model, namespace), labels, port),
    policies: [...layers].flatMap((layer) =>
      (access.get(layer) ?? []).filter((policy) => hasLabels(labels, policy.selector)),
    ),
    services,
    opaque: isOpaque(model, node, services, addressesOf(node, address), port),
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

function addressesOf(node: NodeView, address: string): readonly string[] {
  return isUnspecified(address) ? node.addresses : [address];
}

/** Whoever reads requests there needs them to be read here as well, so one port of HTTP decides. */
function isOpaque(
  model: Model,
  node: NodeView,
  services: readonly Service[],
  addresses: readonly string[],
  port: number,
): boolean {
  const leading = services.flatMap((service) => {
    const here = endpointsAt(model, node, service, addresses);
    return service.ports.filter((each) => here.some((endpoint) => endpointPort(endpoint, each) === port));
  });
  return leading.length > 0 && leading.every(isAlwaysOpaque);
}

/** Of a service, at addresses of a node: in another network behind gateways the same ones are somebody else's. */
function endpointsAt(
  model: Model,
  { network = "" }: NodeView,
  service: Service,
  addresses: readonly string[],
): readonly Endpoint[] {
  const { gateways } = model.mesh.networks;
  return endpointsBehind(model, service).filter(
    (each) =>
      addresses.includes(each.address) && (network === "" || each.network === network || !gateways.has(each.network)),
  );
}

/** Whether a service that leads to such an address, in whatever network, leads to the node; to any port of it, if none is said. */
export function leadsHere(
  model: Model,
  node: NodeView,
  service: Service,
  addresses: readonly string[],
  port?: number,
): boolean {
  if (model.mesh.networks.gateways.size === 0) return true;
  return endpointsAt(model, node, service, addresses).some(
    (endpoint) => port === undefined || service.ports.some((each) => endpointPort(endpoint, each) === port),
  );
}

function servicesBehind(model: Model, node: NodeView, address: string, port: number): readonly Service[] {
  const addresses = addressesOf(node, address);
  const found = addresses.flatMap((each) => model.behind.get(socketAddress(each, port)) ?? []);
  return [...new Set(found)]
    .filter((service) => service.namespace === node.namespace && leadsHere(model, node, service, addresses, port))
    .sort((a, b) => (a.host < b.host ? -1 : 1));
}
