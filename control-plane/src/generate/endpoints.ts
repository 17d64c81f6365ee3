import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LocalityLbEndpointsSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_components_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { HealthStatus } from "@trama/proto/envoy/config/core/v3/health_check_pb.js";

import { type PeerPolicies, mtlsMode } from "../model/access.ts";
import { getOrMake } from "../model/host-index.ts";
import { type Endpoint, type ServicePort, endpointPort, hasLabels, isPipe } from "../model/service.ts";
import type { WireResource } from "../snapshot.ts";
import type { Group, Placing } from "./locality.ts";
import { wireResource } from "./wire.ts";

export interface AssignmentInput {
  readonly name: string;
  readonly port: ServicePort;
  readonly endpoints: readonly Endpoint[];
  /** Labels of the subset; `{}` = all endpoints. */
  readonly subset: Readonly<Record<string, string>>;
  /** Of the endpoints' namespace. */
  readonly peers: PeerPolicies;
  /** What the caller's place makes of them; `undefined`: nothing. */
  readonly placing: Placing | undefined;
}

/** None of them is an empty assignment, which is sent (S43). */
export function assignment(input: AssignmentInput): WireResource {
  return wireResource(ClusterLoadAssignmentSchema, input.name, loadAssignment(input));
}

/** The endpoints of a cluster by locality. */
export function loadAssignment({
  name,
  port,
  endpoints,
  subset,
  peers,
  placing,
}: AssignmentInput): MessageInitShape<typeof ClusterLoadAssignmentSchema> {
  const localities = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    if (!hasLabels(endpoint.labels, subset)) continue;
    const { region, zone, subZone } = endpoint.locality;
    getOrMake(localities, `${region}/${zone}/${subZone}`, () => []).push(endpoint);
  }
  const groups = [...localities.values()].map(groupOf);
  return {
    clusterName: name,
    endpoints: (placing?.place(groups) ?? groups).map((group) => localityEndpoints(group, port, peers)),
  };
}

/** A locality without weight would be skipped (R43); its share is that of its endpoints. */
function groupOf(endpoints: readonly Endpoint[]): Group {
  const locality = endpoints[0]?.locality ?? { region: "", zone: "", subZone: "" };
  return { locality, priority: 0, weight: endpoints.reduce((sum, { weight }) => sum + weight, 0), endpoints };
}

function localityEndpoints(
  { locality, priority, weight, endpoints }: Group,
  port: ServicePort,
  peers: PeerPolicies,
): MessageInitShape<typeof LocalityLbEndpointsSchema> {
  return {
    locality,
    priority,
    loadBalancingWeight: weight,
    lbEndpoints: endpoints.map((endpoint) => {
      const number = endpointPort(endpoint, port);
      return {
        healthStatus: HealthStatus.HEALTHY,
        loadBalancingWeight: endpoint.weight,
        metadata: { filterMetadata: metadata(endpoint, acceptsMesh(endpoint, number, peers)) },
        hostIdentifier: {
          case: "endpoint" as const,
          value: {
            address: { address: place(endpoint.address, number) },
          },
        },
      };
    }),
  };
}

function place(address: string, port: number) {
  if (isPipe(address)) return { case: "pipe" as const, value: { path: address } };
  return {
    case: "socketAddress" as const,
    value: { address, portSpecifier: { case: "portValue" as const, value: port } },
  };
}

/** A workload of the mesh takes mTLS unless its own policy turned that off. */
export function acceptsMesh(endpoint: Endpoint, port: number, peers: PeerPolicies): boolean {
  if (endpoint.gateway) return true;
  return endpoint.mesh && mtlsMode(peers, endpoint.labels, port) !== "disable";
}

function metadata(endpoint: Endpoint, mesh: boolean): Record<string, Record<string, string>> {
  return {
    ...(mesh ? { "envoy.transport_socket_match": { tlsMode: "istio" } } : {}),
    istio: { workload: endpoint.workload },
  };
}
