import { X509Certificate } from "node:crypto";

import { DerError } from "../ca/der.ts";
import { readCertificate, uriNames } from "../ca/read-certificate.ts";
import { AuthError } from "./auth-error.ts";
import { type Identity, parseSpiffeId } from "./identity.ts";

/**
 * The identity in a client certificate whose chain TLS has verified against our roots. SPIFFE X509-SVID: exactly one URI
 * name, and it is the id. The end is checked again, because a connection may outlive the certificate it began with.
 */
export function identityOfCertificate(raw: Uint8Array, trustDomain: string, now: number): Identity {
  const uris = uriNamesOf(raw);
  const [uri] = uris;
  if (uri === undefined || uris.length > 1)
    throw new AuthError(`the client certificate has ${uris.length} URI names; a SPIFFE identity is exactly one`);
  const id = parseSpiffeId(uri);
  if (id === undefined)
    throw new AuthError("the URI name of the client certificate is not spiffe://<domain>/ns/<ns>/sa/<account>");
  if (id.trustDomain !== trustDomain)
    throw new AuthError(`the client certificate is of trust domain ${id.trustDomain}, this is ${trustDomain}`);
  const expiresAt = new X509Certificate(raw).validToDate.getTime();
  if (expiresAt <= now) throw new AuthError("the client certificate has expired");
  return { ...id, proof: "certificate", expiresAt };
}

function uriNamesOf(raw: Uint8Array): string[] {
  try {
    return uriNames(readCertificate(raw));
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    throw new AuthError(`the client certificate cannot be read: ${error.message}`);
  }
}
