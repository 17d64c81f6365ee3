import { isIP } from "node:net";

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  CertificateValidationContext_TrustChainVerification,
  type CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { UpstreamTlsContextSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import { type DestinationTls, type ServerTls, systemTls } from "../model/destination.ts";
import type { NodeView } from "../snapshot.ts";
import { exact } from "./match.ts";
import { type TransportSocket, tlsSocket } from "./tls.ts";
import { pack } from "./wire.ts";

/** Where distributions keep the roots of a machine; Envoy has no other way to name them. */
const systemRootsFile = "/etc/ssl/certs/ca-certificates.crt";

/** TLS with a server outside of the mesh: it must be the host that was called, or one of the names that the policy gives. */
export function serverTls(
  host: string,
  tls: DestinationTls | undefined,
  names: readonly string[],
  caller: { readonly kind: NodeView["kind"]; readonly speaks: "h2" | "http/1.1" | undefined },
): TransportSocket {
  const server = tls?.server ?? systemTls;
  const { certificate } = server;
  const value = pack(UpstreamTlsContextSchema, {
    sni: tls?.sni ?? (isIP(host) === 0 ? host : ""),
    commonTlsContext: {
      // Envoy offers nothing by itself; our own clients know what they speak.
      ...(caller.kind === "envoy" && caller.speaks !== undefined ? { alpnProtocols: [caller.speaks] } : {}),
      ...(certificate === undefined
        ? {}
        : {
            tlsCertificates: [{ certificateChain: file(certificate.chainFile), privateKey: file(certificate.keyFile) }],
          }),
      validationContextType: {
        case: "validationContext",
        value: validation(server, names.length > 0 ? names : [tls?.sni ?? host], caller.kind),
      },
    },
  });
  return tlsSocket({ case: "typedConfig", value });
}

function validation(
  { roots, crlFile }: ServerTls,
  names: readonly string[],
  kind: NodeView["kind"],
): MessageInitShape<typeof CertificateValidationContextSchema> {
  if (roots === "none")
    return { trustChainVerification: CertificateValidationContext_TrustChainVerification.ACCEPT_UNTRUSTED };
  return {
    ...(roots === "system" && kind !== "envoy"
      ? { systemRootCerts: {} }
      : { trustedCa: file(roots === "system" ? systemRootsFile : roots.file) }),
    ...(crlFile === undefined ? {} : { crl: file(crlFile) }),
    matchTypedSubjectAltNames: names.map((name) => ({ sanType: sanType(name), matcher: exact(name) })),
  };
}

function sanType(name: string): SubjectAltNameMatcher_SanType {
  if (name.includes("://")) return SubjectAltNameMatcher_SanType.URI;
  return isIP(name) === 0 ? SubjectAltNameMatcher_SanType.DNS : SubjectAltNameMatcher_SanType.IP_ADDRESS;
}

function file(filename: string): { specifier: { case: "filename"; value: string } } {
  return { specifier: { case: "filename", value: filename } };
}
