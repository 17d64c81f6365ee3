import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";

import { create } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { istioCertificateService } from "@trama/proto";
import { IstioCertificateRequestSchema } from "@trama/proto/istio/v1/auth/ca_pb.js";

import { ControlPlaneError } from "../errors.ts";
import { signingRequest } from "./signing-request.ts";

/** What the files of a workload are made of. */
export interface WorkloadCertificate {
  readonly keyPem: string;
  /** Leaf first, without the root. */
  readonly chainPem: string;
  readonly rootPem: string;
  readonly notAfter: number;
}

/** How the caller proves who it is: a token, the certificate that it has, or both; the certificate is looked at first. */
export interface Proof {
  readonly token: string | undefined;
  readonly certificate: Pick<WorkloadCertificate, "keyPem" | "chainPem"> | undefined;
}

const ANSWER_MS = 15_000;

/** Asks the control plane at `server` for a certificate, with a key that is new each time. */
export async function requestCertificate(
  server: string,
  rootPem: string,
  proof: Proof,
  lifeSeconds: number,
): Promise<WorkloadCertificate> {
  const { keyPem, csrPem } = signingRequest();
  const client = dial(server, rootPem, proof);
  const metadata = new Metadata();
  if (proof.token !== undefined) metadata.set("authorization", `Bearer ${proof.token}`);
  const { path, requestSerialize, responseDeserialize } = istioCertificateService.CreateCertificate;
  const request = create(IstioCertificateRequestSchema, { csr: csrPem, validityDuration: BigInt(lifeSeconds) });
  try {
    const chain = await new Promise<readonly string[]>((resolve, reject) => {
      const deadline = Date.now() + ANSWER_MS;
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline },
        (error: ServiceError | null, response) => (error === null ? resolve(response?.certChain ?? []) : reject(error)),
      );
    });
    return certificateOf(keyPem, chain);
  } catch (error) {
    throw refused(server, error);
  } finally {
    client.close();
  }
}

/** The name checked is the one dialled. An address may not be sent as a server name (RFC 6066), though it is checked alike. */
function dial(server: string, rootPem: string, { certificate }: Proof): Client {
  const host = server.slice(0, server.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");
  const [key, chain] =
    certificate === undefined ? [null, null] : [Buffer.from(certificate.keyPem), Buffer.from(certificate.chainPem)];
  const secured = credentials.createSsl(Buffer.from(rootPem), key, chain, {
    checkServerIdentity: (_name, shown) => checkServerIdentity(host, shown),
  });
  return new Client(server, secured, isIP(host) === 0 ? {} : { "grpc.ssl_target_name_override": "localhost" });
}

/** I27: the leaf first, the root (or several of them) last. */
function certificateOf(keyPem: string, chain: readonly string[]): WorkloadCertificate {
  const [leaf] = chain;
  const rootPem = chain.at(-1);
  if (leaf === undefined || rootPem === undefined || chain.length < 2)
    throw new Error("the answer holds no chain from a leaf to a root");
  return {
    keyPem,
    chainPem: chain.slice(0, -1).join(""),
    rootPem,
    notAfter: new X509Certificate(leaf).validToDate.getTime(),
  };
}

function refused(server: string, error: unknown): ControlPlaneError {
  const { code, details } = error as Partial<ServiceError>;
  const why = details ?? (error instanceof Error ? error.message : String(error));
  const remedy =
    code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED
      ? "; is it running there, and is the root certificate its own?"
      : "";
  return new ControlPlaneError("JOIN", `the control plane at ${server} gave no certificate: ${why}${remedy}`, error);
}
