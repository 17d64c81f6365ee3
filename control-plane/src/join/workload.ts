import { networkLabel } from "../model/networks.ts";

/** Who joins, and from where: what node ids and metadata are made of. */
export interface Workload {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly name: string;
  /** Address at which others reach it; by it its endpoints and inbound listeners are found. */
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it runs; empty texts: it does not say, and is equally near to all. */
  readonly locality: WireLocality;
  /** Of the mesh: the last part of the node id. */
  readonly domain: string;
  readonly cluster: string;
}

/** A locality as bootstrap files write it. */
export interface WireLocality {
  readonly region: string;
  readonly zone: string;
  readonly sub_zone: string;
}

/** I10. */
export function nodeId({ address, name, namespace, domain }: Workload): string {
  return `sidecar~${address}~${name}.${namespace}~${namespace}.svc.${domain}`;
}

/** Istio's names; it looks for a caller's network under a name of its own. */
export function nodeMetadata(workload: Workload): Record<string, unknown> {
  const network = workload.labels[networkLabel];
  return {
    NAMESPACE: workload.namespace,
    SERVICE_ACCOUNT: workload.serviceAccount,
    WORKLOAD_NAME: workload.name,
    LABELS: workload.labels,
    CLUSTER_ID: workload.cluster,
    INSTANCE_IPS: workload.address,
    ...(network && { NETWORK: network }),
  };
}

/** Names of the files in a workload's folder. */
export const fileNames = {
  key: "key.pem",
  chain: "cert-chain.pem",
  root: "root-cert.pem",
  grpc: "bootstrap.json",
  envoy: "envoy.json",
  identitySecret: "sds-default.json",
  rootSecret: "sds-rootca.json",
} as const;
