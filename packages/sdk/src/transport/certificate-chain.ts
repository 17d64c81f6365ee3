import { X509Certificate } from "node:crypto";

/** Longer chains are nobody's. */
const maxDepth = 6;

/** PEM texts that were parsed, newest first: roots are few, and change with an identity. */
let kept: { readonly pem: readonly string[]; readonly roots: readonly X509Certificate[] } | undefined;

/**
 * Whether a leaf leads to one of these roots: each certificate issued and signed by the next, all of them valid now, all issuers
 * authorities. For a leaf that was verified by somebody else's roots; whoever sent it has proved to TLS that it has the key.
 */
export function vouchedFor(leaf: X509Certificate, rootsPem: readonly string[], nowMs: number): boolean {
  const roots = rootsOf(rootsPem);
  let certificate = leaf;
  for (let depth = 0; depth < maxDepth; depth++) {
    if (!validAt(certificate, nowMs)) return false;
    for (const root of roots) if (validAt(root, nowMs) && issuedBy(certificate, root)) return true;
    const { issuerCertificate: issuer } = certificate;
    if (issuer === undefined || issuer.fingerprint256 === certificate.fingerprint256) return false;
    if (!issuedBy(certificate, issuer)) return false;
    certificate = issuer;
  }
  return false;
}

function issuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function validAt({ validFromDate, validToDate }: X509Certificate, nowMs: number): boolean {
  return validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime();
}

function rootsOf(pem: readonly string[]): readonly X509Certificate[] {
  if (kept?.pem !== pem) kept = { pem, roots: pem.map((text) => new X509Certificate(text)) };
  return kept.roots;
}
