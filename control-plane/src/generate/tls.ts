import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TransportSocketSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { SubjectAltNameMatcher_SanType } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import type { MeshSettings } from "../model/mesh.ts";
import { type StringMatcher, exact } from "./match.ts";
import { pack } from "./wire.ts";

type TransportSocket = MessageInitShape<typeof TransportSocketSchema>;

const identity = { instanceName: "default", certificateName: "default" };
const trust = { instanceName: "default", certificateName: "ROOTCA" };

/** A client's side: shows the own certificate, accepts exactly these names of the server (S45). */
export function upstreamTls(sni: string, names: readonly string[]): TransportSocket {
  const commonTlsContext = context(names.map(exact));
  return socket({ case: "typedConfig", value: pack(UpstreamTlsContextSchema, { commonTlsContext, sni }) });
}

/**
 * A server's side: demands a certificate. `domains` limits the callers to identities of our own trust domains: under a
 * corporate root there may be others. gRPC libraries refuse that list at the server side, so they get none (A29).
 */
export function downstreamTls(domains: readonly string[]): TransportSocket {
  const names = domains.map((domain): StringMatcher => ({
    matchPattern: { case: "prefix", value: `spiffe://${domain}/` },
  }));
  const value = pack(DownstreamTlsContextSchema, {
    commonTlsContext: context(names),
    requireClientCertificate: true,
  });
  return socket({ case: "typedConfig", value });
}

/** All the names by which the mesh's own identities may begin. */
export function trustDomains(mesh: MeshSettings): readonly string[] {
  return [...new Set([mesh.trustDomain, ...mesh.trustDomainAliases])];
}

/** Provider instances in the current fields, and in the deprecated ones for older clients (I23). */
function context(names: readonly StringMatcher[]): MessageInitShape<typeof CommonTlsContextSchema> {
  return {
    tlsCertificateProviderInstance: identity,
    tlsCertificateCertificateProviderInstance: identity,
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: {
          caCertificateProviderInstance: trust,
          matchTypedSubjectAltNames: names.map((matcher) => ({ sanType: SubjectAltNameMatcher_SanType.URI, matcher })),
          // What older clients read instead.
          matchSubjectAltNames: [...names],
        },
        validationContextCertificateProviderInstance: trust,
      },
    },
  };
}

function socket(configType: NonNullable<TransportSocket["configType"]>): TransportSocket {
  return { name: "envoy.transport_sockets.tls", configType };
}
