import type { Any } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { type DataSource, DataSourceSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { TransportSocket } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import type { CommonTlsContext } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import { makeCertificate, spiffe } from "../../../kit/certs.ts";
import { any } from "../../../kit/xds-resources.ts";
import type { BootstrapInit } from "../process.ts";

/** The secrets that a sidecar finds in its own bootstrap, and the roots, which else come over ADS. */
export function staticSecrets(): NonNullable<NonNullable<BootstrapInit["staticResources"]>["secrets"]> {
  const root = makeCertificate("root");
  const leaf = makeCertificate("leaf", { issuer: root, uris: [spiffe("shop", "client")] });
  const inline = (value: string) => ({ specifier: { case: "inlineString", value } }) as const;
  return [
    {
      name: "default",
      type: {
        case: "tlsCertificate",
        value: { certificateChain: inline(leaf.certPem), privateKey: inline(leaf.keyPem) },
      },
    },
    { name: "ROOTCA", type: { case: "validationContext", value: { trustedCa: inline(root.certPem) } } },
  ];
}

/**
 * gRPC's libraries and ours name provider instances, which Envoy has not. For the check they become the secrets of the same
 * meaning; all the rest, the accepted names first of all, stays as it was generated.
 */
export function withSecrets(socket: TransportSocket | undefined): void {
  if (socket?.configType.case !== "typedConfig") return;
  socket.configType.value = rewritten(socket.configType.value);
}

function rewritten(config: Any): Any {
  const upstream = anyUnpack(config, UpstreamTlsContextSchema);
  if (upstream !== undefined) {
    useSecrets(upstream.commonTlsContext);
    return any(UpstreamTlsContextSchema, upstream);
  }
  const downstream = anyUnpack(config, DownstreamTlsContextSchema);
  if (downstream === undefined) return config;
  useSecrets(downstream.commonTlsContext);
  return any(DownstreamTlsContextSchema, downstream);
}

function useSecrets(context: CommonTlsContext | undefined): void {
  useContents(context);
  if (context?.tlsCertificateProviderInstance === undefined) return;
  delete context.tlsCertificateProviderInstance;
  delete context.tlsCertificateCertificateProviderInstance;
  context.tlsCertificateSdsSecretConfigs = [secret("default")];
  const validation = context.validationContextType;
  if (validation.case !== "combinedValidationContext") return;
  delete validation.value.validationContextCertificateProviderInstance;
  delete validation.value.defaultValidationContext?.caCertificateProviderInstance;
  validation.value.validationContextSdsSecretConfig = secret("ROOTCA");
}

/**
 * For servers outside of the mesh. gRPC's word for the roots of the system (gRFC A82) is in Envoy's messages, and not in Envoy: there they
 * are a file. Files that the YAML names are on no machine of ours, so what is in them stands in their place.
 */
function useContents(context: CommonTlsContext | undefined): void {
  const root = makeCertificate("root");
  const inline = (value: string): DataSource =>
    create(DataSourceSchema, { specifier: { case: "inlineString", value } });
  for (const one of context?.tlsCertificates ?? []) {
    const own = makeCertificate("own", { issuer: root });
    one.certificateChain = inline(own.certPem);
    one.privateKey = inline(own.keyPem);
  }
  const validation = context?.validationContextType;
  if (validation?.case !== "validationContext") return;
  const { value } = validation;
  if (value.systemRootCerts !== undefined || value.trustedCa?.specifier.case === "filename")
    value.trustedCa = inline(root.certPem);
  delete value.systemRootCerts;
  // A list of this very authority, which nobody here can make.
  delete value.crl;
}

type Secret = CommonTlsContext["tlsCertificateSdsSecretConfigs"][number];

function secret(name: string): Secret {
  return { $typeName: "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", name };
}
