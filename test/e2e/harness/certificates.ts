import { makeCertificate, type TestCertificate } from "../../kit/certs.ts";

/** What somebody shows in a TLS handshake. */
export interface Credentials {
  readonly key: string;
  readonly cert: string;
}

/**
 * A certificate that looks exactly like one of the mesh (SPIFFE id, usages, dates) but is signed by a root of its own.
 * What gives it away is only who signed it.
 */
export function foreignIdentity(spiffeId: string): Credentials {
  const root = makeCertificate("cluster.local");
  return credentials(makeCertificate("workload", { issuer: root, uris: [spiffeId] }), root);
}

/** The same claim, vouched for by nobody. */
export function selfSignedIdentity(spiffeId: string): Credentials {
  return credentials(makeCertificate("outsider", { uris: [spiffeId], ca: false }));
}

function credentials(leaf: TestCertificate, ...above: readonly TestCertificate[]): Credentials {
  return { key: leaf.keyPem, cert: [leaf, ...above].map(({ certPem }) => certPem).join("\n") };
}
