import { type sendUnaryData, type ServerErrorResponse, type ServerUnaryCall, status } from "@grpc/grpc-js";
import type { IstioCertificateRequest, IstioCertificateResponse } from "@trama/proto/istio/v1/auth/ca_pb.js";

import { AuthError } from "../auth/auth-error.ts";
import type { Authenticator } from "../auth/authenticate.ts";
import type { Identity } from "../auth/identity.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";
import { SigningError } from "./signing-thread.ts";

/** What the service tells of its work; the names follow istiod's `citadel_server_*`. */
export interface CertificateEvents {
  requested(): void;
  unauthenticated(): void;
  refused(identity: Identity, why: string): void;
  failed(identity: Identity, why: string): void;
  issued(identity: Identity): void;
}

type Answer = sendUnaryData<IstioCertificateResponse>;

/** `istio.v1.auth.IstioCertificateService` (I27): a certificate for whoever calls, and for nobody else. */
export function certificateService(
  ca: CertificateAuthority,
  authenticate: Authenticator,
  events: CertificateEvents,
): {
  CreateCertificate(call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>, answer: Answer): void;
} {
  const create = async (
    call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
  ): Promise<IstioCertificateResponse> => {
    events.requested();
    const identity = await authenticate(call);
    try {
      const { csr, validityDuration, metadata } = call.request;
      for (const field of ["ImpersonatedIdentity", "CertSigner"])
        if (metadata?.[field] !== undefined) throw new SigningError("refused", unsupported[field] ?? field);
      const certChain = await ca.issueWorkload(identity, csr, Number(validityDuration));
      events.issued(identity);
      return { $typeName: "istio.v1.auth.IstioCertificateResponse", certChain };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (error instanceof SigningError && error.reason === "refused") events.refused(identity, why);
      else events.failed(identity, why);
      throw error;
    }
  };
  return {
    CreateCertificate(call, answer) {
      create(call).then(
        (response) => answer(null, response),
        (error: unknown) => {
          if (error instanceof AuthError) events.unauthenticated();
          answer(asStatus(error));
        },
      );
    },
  };
}

const unsupported: Readonly<Record<string, string>> = {
  // S37: nobody is listed here as one who may speak for others.
  ImpersonatedIdentity: "this authority issues to the caller only: leave out the metadata ImpersonatedIdentity",
  CertSigner: "this authority has one signer: leave out the metadata CertSigner",
};

function asStatus(error: unknown): Partial<ServerErrorResponse> {
  if (error instanceof AuthError) return { code: error.code, details: error.message };
  if (!(error instanceof SigningError))
    return { code: status.INTERNAL, details: "the certificate could not be issued" };
  const codes = { refused: status.INVALID_ARGUMENT, busy: status.RESOURCE_EXHAUSTED, failed: status.INTERNAL } as const;
  return { code: codes[error.reason], details: error.message };
}
