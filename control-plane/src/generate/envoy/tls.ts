import type { MessageInitShape } from "@bufbuild/protobuf";
import { ApiVersion, type ConfigSourceSchema } from "@trama/proto/envoy/config/core/v3/config_source_pb.js";
import { SubjectAltNameMatcher_SanType } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import type { MeshSettings } from "../../model/mesh.ts";
import type { ProxySettings } from "../../snapshot.ts";
import { type StringMatcher, exact } from "../match.ts";
import { type TransportSocket, tlsSocket, trustDomains } from "../tls.ts";
import { pack } from "../wire.ts";

/** The mesh's roots; served over ADS, so that a change of trust reaches sidecars at once. */
export const rootSecretName = "ROOTCA";
const identitySecretName = "default";

export interface UpstreamInput {
  readonly sni: string;
  /** SPIFFE ids that the server may have. */
  readonly names: readonly string[];
  /** `client`: as the call that is passed on; `any`: nobody knows what is in the connection. */
  readonly protocol: "http1" | "http2" | "client" | "any";
  readonly proxy: ProxySettings;
}

/**
 * A client's side. What is negotiated follows the port: gRPC servers insist on `h2` (ALPN). Where it follows the caller, nothing is said here:
 * Envoy then offers what that call needs.
 */
export function sidecarUpstreamTls({ sni, names, protocol, proxy }: UpstreamInput): TransportSocket {
  const alpn = { http1: ["http/1.1"], http2: ["h2"], client: [], any: [] }[protocol];
  const commonTlsContext = context(names.map(exact), proxy, alpn);
  return tlsSocket({ case: "typedConfig", value: pack(UpstreamTlsContextSchema, { commonTlsContext, sni }) });
}

/** A server's side: demands a certificate of one of our trust domains. */
export function sidecarDownstreamTls(
  mesh: MeshSettings,
  proxy: ProxySettings,
  alpn: readonly string[],
): TransportSocket {
  const names = trustDomains(mesh).map((domain): StringMatcher => ({
    matchPattern: { case: "prefix", value: `spiffe://${domain}/` },
  }));
  const value = pack(DownstreamTlsContextSchema, {
    commonTlsContext: context(names, proxy, [...alpn]),
    requireClientCertificate: true,
    // A resumed session would skip the check of the client's certificate.
    sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
    disableStatefulSessionResumption: true,
  });
  return tlsSocket({ case: "typedConfig", value });
}

/**
 * The own certificate and key come from the sidecar's own folder: the key was made there and goes nowhere (S35). The roots,
 * which are no secret, come over ADS.
 */
function context(
  names: readonly StringMatcher[],
  { identityFile }: ProxySettings,
  alpnProtocols: string[],
): MessageInitShape<typeof CommonTlsContextSchema> {
  return {
    alpnProtocols,
    tlsCertificateSdsSecretConfigs: [
      { name: identitySecretName, ...(identityFile === undefined ? {} : { sdsConfig: fromFile(identityFile) }) },
    ],
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: {
          matchTypedSubjectAltNames: names.map((matcher) => ({ sanType: SubjectAltNameMatcher_SanType.URI, matcher })),
        },
        validationContextSdsSecretConfig: {
          name: rootSecretName,
          sdsConfig: { resourceApiVersion: ApiVersion.V3, configSourceSpecifier: { case: "ads", value: {} } },
        },
      },
    },
  };
}

function fromFile(path: string): MessageInitShape<typeof ConfigSourceSchema> {
  return {
    resourceApiVersion: ApiVersion.V3,
    configSourceSpecifier: { case: "pathConfigSource", value: { path } },
  };
}
