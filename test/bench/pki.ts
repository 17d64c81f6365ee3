import { makeCertificate, spiffe } from "../kit/certs.ts";

/**
 * The certificates of a benchmark: one P-256 root, given to the control plane as its own, so that what the harness issues to its
 * plain processes and what the control plane issues to the mesh verify each other. Both sides of every pair then do the very same TLS.
 */
export interface Pki {
  readonly rootPem: string;
  readonly rootKeyPem: string;
  /** A leaf with the SPIFFE id of a service account of the namespace `bench`, as the control plane would issue it. */
  issue(serviceAccount: string): Promise<Leaf>;
}

export interface Leaf {
  readonly certPem: string;
  readonly keyPem: string;
  readonly spiffeId: string;
}

export const trustDomain = "cluster.local";
export const namespace = "bench";

export function spiffeIdOf(serviceAccount: string): string {
  return spiffe(namespace, serviceAccount, trustDomain);
}

export function createPki(): Promise<Pki> {
  const root = makeCertificate("benchmark root");
  return Promise.resolve({
    rootPem: root.certPem,
    rootKeyPem: root.keyPem,
    issue(serviceAccount) {
      const spiffeId = spiffeIdOf(serviceAccount);
      const { certPem, keyPem } = makeCertificate(serviceAccount, { issuer: root, uris: [spiffeId] });
      return Promise.resolve({ certPem, keyPem, spiffeId });
    },
  });
}
