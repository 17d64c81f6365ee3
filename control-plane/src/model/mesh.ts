import { type Networks, oneNetwork } from "./networks.ts";

/** What holds for the whole mesh; it comes from flags and stays for the life of the process (istio-api §13). */
export interface MeshSettings {
  /** Domain of all identities: `spiffe://<trustDomain>/ns/…`. */
  readonly trustDomain: string;
  /** Other domains that are treated as ours, in principals and in verification. */
  readonly trustDomainAliases: readonly string[];
  /** Domain that completes short host names: `<name>.<namespace>.svc.<domain>`. */
  readonly domain: string;
  /** Objects without selector in this namespace hold for the whole mesh. */
  readonly rootNamespace: string;
  /** Name of the cluster that endpoints are said to be in. */
  readonly cluster: string;
  /** Folder of each caller in which the Secrets that `credentialName` names are mounted, each as a folder of its own. */
  readonly credentialsDir: string;
  /** PEM of all roots that identities are checked against; it is public. Empty: there is no authority, as in `check`. */
  readonly rootsPem: string;
  /** Which endpoints are in which network, and the ways in. */
  readonly networks: Networks;
}

/** Istio's defaults. */
export const defaultMesh: MeshSettings = {
  trustDomain: "cluster.local",
  trustDomainAliases: [],
  domain: "cluster.local",
  rootNamespace: "istio-system",
  cluster: "Kubernetes",
  credentialsDir: "/etc/trama/credentials",
  rootsPem: "",
  networks: oneNetwork,
};

/**
 * A host name as it stands in a rule: without a dot it is completed by the namespace of the *rule*, not of the service
 * or of the caller (istio-api §1.3).
 */
export function fullHost(mesh: MeshSettings, host: string, namespace: string): string {
  return host.includes(".") || host === "*" ? host : `${host}.${namespace}.svc.${mesh.domain}`;
}

/** `reviews.shop.svc.cluster.local` → its name and namespace; any other host is `undefined`. */
export function platformHost(mesh: MeshSettings, host: string): { name: string; namespace: string } | undefined {
  const suffix = `.svc.${mesh.domain}`;
  if (!host.endsWith(suffix)) return undefined;
  const [name, namespace, ...rest] = host.slice(0, -suffix.length).split(".");
  return name && namespace && rest.length === 0 ? { name, namespace } : undefined;
}
