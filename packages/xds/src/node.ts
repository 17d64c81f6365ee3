import type { JsonObject } from "@bufbuild/protobuf";
import { NodeSchema, create } from "@trama/proto/lean";
import type { Node } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { BootstrapNode } from "./bootstrap.ts";

/** Of this package; goes to the control plane in the node. */
export const version = "0.1.0";

/**
 * What we can do, for servers that ask: resources come wrapped in the state of the world too, with a time to live (R21).
 * Unlike gRPC's own clients we do know Envoy's overprovisioning, so no server need spill over by itself (S42).
 */
const clientFeatures = [
  "xds.config.resource-in-sotw",
  "xds.config.supports-resource-in-sotw",
  "xds.config.supports-resource-ttl",
];

/** Exactly four parts: the kind, an address without brackets, workload and namespace, the DNS domain (I10). */
export function nodeId(of: { ip: string; workload: string; namespace: string; domain: string }): string {
  return `sidecar~${of.ip}~${of.workload}.${of.namespace}~${of.namespace}.svc.${of.domain}`;
}

/** Istio's names. Values are texts, lists too (I12); GENERATOR asks for the proxyless form (I11). */
export function nodeMetadata(of: {
  ip: string;
  workload: string;
  namespace: string;
  serviceAccount: string;
  clusterId: string;
  labels: Readonly<Record<string, string>>;
}): Readonly<Record<string, unknown>> {
  const network = of.labels["topology.istio.io/network"];
  return {
    GENERATOR: "grpc",
    NAMESPACE: of.namespace,
    SERVICE_ACCOUNT: of.serviceAccount,
    WORKLOAD_NAME: of.workload,
    CLUSTER_ID: of.clusterId,
    INSTANCE_IPS: of.ip,
    LABELS: { ...of.labels },
    // Istio looks for a caller's network here alone.
    ...(network && { NETWORK: network }),
  };
}

/** The node of the first request of each stream (R1). TRAMA_VERSION tells our own control plane what shapes we take. */
export function protoNode(node: BootstrapNode): Node {
  return create(NodeSchema, {
    id: node.id,
    cluster: node.cluster,
    metadata: { TRAMA_VERSION: version, ...node.metadata } as JsonObject,
    ...(node.locality && { locality: node.locality }),
    userAgentName: "trama",
    userAgentVersionType: { case: "userAgentVersion", value: version },
    clientFeatures,
  });
}
