import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TransportSocketSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { SubjectAltNameMatcher_SanType } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import type { MeshSettings } from "../model/mesh.ts";
import type { NodeView } from "../snapshot.ts";
import { type StringMatcher, exact } from "./match.ts";
import { pack } from "./wire.ts";

export type TransportSocket = MessageInitShape<typeof TransportSocketSchema>;

const identity = { instanceName: "default", certificateName: "default" };
const trust = { instanceName: "default", certificateName: "ROOTCA" };

/** A client's side: shows the own certificate, accepts exactly these names of the server (S45). */
export function upstreamTls(sni: string, names: readonly string[], kind: NodeView["kind"]): TransportSocket {
  const commonTlsContext = context(names.map(exact), kind);
  return tlsSocket({ case: "typedConfig", value: pack(UpstreamTlsContextSchema, { commonTlsContext, sni }) });
}

/**
 * A server's side: demands a certificate, and limits the callers to identities of our own trust domains: under a corporate
 * root there may be others. gRPC libraries refuse such a list at the server side, so they get none (A29).
 */
export function downstreamTls(mesh: MeshSettings, kind: NodeView["kind"]): TransportSocket {
  const domains = kind === "grpc" ? [] : trustDomains(mesh);
  const names = domains.map((domain): StringMatcher => ({
    matchPattern: { case: "prefix", value: `spiffe://${domain}/` },
  }));
  const value = pack(DownstreamTlsContextSchema, {
    commonTlsContext: context(names, kind),
    requireClientCertificate: true,
  });
  return tlsSocket({ case: "typedConfig", value });
}

/** All the names by which the mesh's own identities may begin. */
export function trustDomains(mesh: MeshSettings): readonly string[] {
  return [...new Set([mesh.trustDomain, ...mesh.trustDomainAliases])];
}

/**
 * Provider instances in the current fields, and in the deprecated ones for older clients (I23). Of the two lists of names gRPC
 * libraries read the deprecated one (A29); given both, a client would compare each name twice.
 */
function context(
  names: readonly StringMatcher[],
  kind: NodeView["kind"],
): MessageInitShape<typeof CommonTlsContextSchema> {
  return {
    tlsCertificateProviderInstance: identity,
    tlsCertificateCertificateProviderInstance: identity,
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: {
          caCertificateProviderInstance: trust,
          ...(kind === "grpc"
            ? { matchSubjectAltNames: [...names] }
            : {
                matchTypedSubjectAltNames: names.map((matcher) => ({
                  sanType: SubjectAltNameMatcher_SanType.URI,
                  matcher,
                })),
              }),
        },
        validationContextCertificateProviderInstance: trust,
      },
    },
  };
}

export function tlsSocket(configType: NonNullable<TransportSocket["configType"]>): TransportSocket {
  return { name: "envoy.transport_sockets.tls", configType };
}
