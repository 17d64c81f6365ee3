import type { Clock } from "@trama/engine";
import { create, IstioCertificateRequestSchema, istioCertificateService } from "@trama/proto/lean";

import type { XdsServer } from "../bootstrap.ts";
import type { CallError } from "../stream/credentials.ts";
import type { SharedConnection } from "../stream/grpc-connection.ts";
import { callUnary } from "../stream/grpc-transport.ts";
import type { ClientCertificate } from "../stream/transport.ts";
import { IdentityError } from "./identity.ts";

/** Sends a signing request to the authority and brings back its answer, leaf first (I27). Throws a {@link SigningFailure}. */
export type Signer = (
  csrPem: string,
  lifeSeconds: number,
  certificate: ClientCertificate | undefined,
  signal: AbortSignal,
) => Promise<readonly string[]>;

/** Why there is no answer, and whether asking again can help. */
export class SigningFailure extends Error {
  override readonly name = "SigningFailure";
  readonly transient: boolean;
  readonly identityError: IdentityError;

  constructor(transient: boolean, identityError: IdentityError) {
    super(identityError.message);
    this.transient = transient;
    this.identityError = identityError;
  }
}

/** Canceled, DeadlineExceeded, ResourceExhausted, Aborted, Internal, Unavailable (I30). */
const transientCodes: ReadonlySet<number> = new Set([1, 4, 8, 10, 13, 14]);
const deadlineExceeded = 4;
const unauthenticated = 16;
const permissionDenied = 7;
const unimplemented = 12;

/**
 * The certificate service of a control plane over gRPC. Roots, token and our present certificate are read anew for each call (I3, I4), on a
 * connection of its own; the first request, for which there is no certificate to show, shares the stream's.
 */
export function grpcSigner(server: XdsServer, clock: Clock, shared?: SharedConnection, timeoutMs = 10_000): Signer {
  return async (csrPem, lifeSeconds, certificate, signal) => {
    const options = { server, certificate: () => Promise.resolve(certificate), shared };
    const request = create(IstioCertificateRequestSchema, { csr: csrPem, validityDuration: BigInt(lifeSeconds) });
    const patience = new AbortController();
    const timer = clock.after(timeoutMs, () => patience.abort());
    try {
      const { CreateCertificate: method } = istioCertificateService;
      const response = await callUnary(options, method, request, AbortSignal.any([signal, patience.signal]));
      return response.certChain;
    } catch (thrown) {
      throw failure(server, patience.signal.aborted ? late(timeoutMs) : (thrown as CallError));
    } finally {
      timer.cancel();
    }
  };
}

function late(timeoutMs: number): Pick<CallError, "code" | "message"> {
  return { code: deadlineExceeded, message: `no answer within ${timeoutMs} ms` };
}

function failure(server: XdsServer, thrown: Pick<CallError, "code" | "message">): SigningFailure {
  const { code, message } = thrown;
  const said = `${server.uri}: ${message}`;
  if (code === unauthenticated || code === permissionDenied)
    return new SigningFailure(
      false,
      new IdentityError(
        "CA_REFUSED",
        `certificate refused by ${said}; get a new join token for this service account from this very control plane`,
        thrown,
      ),
    );
  // Nothing is left of a failed handshake but OpenSSL's words.
  if (/certificate (?:is not yet valid|has expired)/.test(said))
    return new SigningFailure(
      false,
      new IdentityError(
        "CLOCK_SKEW",
        `by this machine's clock the control plane's certificate is not valid (${said}); compare the clocks`,
        thrown,
      ),
    );
  if (transientCodes.has(code))
    return new SigningFailure(
      true,
      new IdentityError(
        "CA_UNREACHABLE",
        `no certificate from ${said}; check its address and that it runs, and that the root certificate is its own`,
        thrown,
      ),
    );
  const words =
    code === unimplemented
      ? `no certificate from ${said}; check that this is the control plane, and that it issues certificates`
      : `certificate refused by ${said}`;
  return new SigningFailure(false, new IdentityError("CA_REFUSED", words, thrown));
}
