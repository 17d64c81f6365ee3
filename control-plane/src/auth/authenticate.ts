import type { PeerCertificate } from "node:tls";
import type { Metadata } from "@grpc/grpc-js";

import { AuthError } from "./auth-error.ts";
import type { Identity } from "./identity.ts";
import { verifyJoinToken } from "./join-token.ts";
import { identityOfCertificate } from "./peer-certificate.ts";
import type { TokenKey } from "./token-key.ts";

/** What a call shows of its caller: the parts of grpc-js's ServerSurfaceCall that matter here. */
export interface CallerEvidence {
  readonly metadata: Metadata;
  getAuthContext(): { readonly sslPeerCertificate?: PeerCertificate };
}

/** Resolves to who calls, or rejects with an AuthError. */
export type Authenticator = (call: CallerEvidence) => Promise<Identity>;

/**
 * S32: a verified client certificate with a SPIFFE identity, else a join token, else nobody. A certificate that TLS did not
 * verify (foreign, expired) is not seen here at all, so that its owner may still come by a token.
 */
export function authenticator(key: TokenKey, trustDomain: string, now: () => number): Authenticator {
  return async (call) => {
    const certificate = call.getAuthContext().sslPeerCertificate;
    const token = bearerToken(call.metadata);
    if (certificate !== undefined) {
      try {
        return identityOfCertificate(certificate.raw, trustDomain, now());
      } catch (error) {
        if (token === undefined || !(error instanceof AuthError)) throw error;
      }
    }
    if (token === undefined)
      throw new AuthError(
        "no identity: show a client certificate of this mesh that is valid now, or `authorization: Bearer <join token>`",
      );
    return verifyJoinToken(key, token, trustDomain, now());
  };
}

function bearerToken(metadata: Metadata): string | undefined {
  const [value, ...more] = metadata.get("authorization");
  if (value === undefined) return undefined;
  const [, token] = /^bearer +(\S+)$/i.exec(String(value)) ?? [];
  if (token === undefined || more.length > 0)
    throw new AuthError("the authorization header must be `Bearer <join token>`, once");
  return token;
}
