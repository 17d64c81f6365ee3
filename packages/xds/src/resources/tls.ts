import type { DownstreamTls, StringMatch, UpstreamTls } from "@trama/engine";
import { DownstreamTlsContextSchema, SubjectAltNameMatcher_SanType, UpstreamTlsContextSchema } from "@trama/proto/lean";
import type { TransportSocket } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { CertificateValidationContext } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import type { CommonTlsContext } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import { openAny } from "./any.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { stringMatch } from "./match.ts";
import { serverTls } from "./server-tls.ts";
import type { DecodeOptions } from "./type.ts";

const rawBuffer = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/** How to speak to an endpoint; `undefined` is plaintext, and only what says so is: an error never is (R51). */
export function upstreamTls(socket: TransportSocket | undefined, options: DecodeOptions): UpstreamTls | undefined {
  const typed = open(socket);
  if (typed === undefined) return undefined;
  if (typed.typeName !== UpstreamTlsContextSchema.typeName) {
    throw new ResourceError(
      `transport socket ${typed.typeName} is not supported; use UpstreamTlsContext or raw_buffer`,
    );
  }
  const context = typed.as(UpstreamTlsContextSchema);
  // Sessions are never resumed here, so how many keys are kept is nobody's concern.
  onlyFields(context, ["commonTlsContext", "sni"], ["maxSessionKeys", "enforceRsaKeyUsage"]);
  return within("common_tls_context", () => {
    const serverName = context.sni === "" ? undefined : context.sni;
    const server = serverTls(context.commonTlsContext, serverName, options);
    if (server !== undefined) return server;
    const common = commonContext(context.commonTlsContext, options);
    if (common.trust === undefined) {
      throw new ResourceError("the validation context names no certificate provider instance for the roots");
    }
    return {
      identity: common.identity,
      trust: common.trust,
      serverName,
      subjectNames: common.subjectNames,
    };
  });
}

export function downstreamTls(socket: TransportSocket | undefined, options: DecodeOptions): DownstreamTls | undefined {
  const typed = open(socket);
  if (typed === undefined) return undefined;
  if (typed.typeName !== DownstreamTlsContextSchema.typeName) {
    throw new ResourceError(
      `transport socket ${typed.typeName} is not supported; use DownstreamTlsContext or raw_buffer`,
    );
  }
  const context = typed.as(DownstreamTlsContextSchema);
  onlyFields(
    context,
    ["commonTlsContext", "requireClientCertificate"],
    ["sessionTicketKeysType", "disableStatefulSessionResumption", "sessionTimeout", "fullScanCertsOnSniMismatch"],
  );
  return within("common_tls_context", () => {
    const common = commonContext(context.commonTlsContext, options);
    if (common.identity === undefined) throw new ResourceError("a server needs a certificate provider instance");
    const requireClientCertificate = context.requireClientCertificate ?? false;
    if (requireClientCertificate && common.trust === undefined) {
      throw new ResourceError("require_client_certificate needs a validation context");
    }
    return {
      identity: common.identity,
      trust: common.trust,
      requireClientCertificate,
      subjectNames: common.subjectNames,
    };
  });
}

function open(socket: TransportSocket | undefined): ReturnType<typeof openAny> | undefined {
  if (socket === undefined) return undefined;
  if (socket.configType.case === undefined) {
    if (socket.name === "envoy.transport_sockets.raw_buffer") return undefined;
    throw new ResourceError(`transport socket ${JSON.stringify(socket.name)} has no typed_config`);
  }
  const typed = openAny(socket.configType.value);
  return typed.typeName === rawBuffer ? undefined : typed;
}

interface Common {
  readonly identity: string | undefined;
  readonly trust: string | undefined;
  readonly subjectNames: readonly StringMatch[];
}

/** Instances may be named in the current fields and in the deprecated ones; Istio writes both (I23). ALPN is ours to choose. */
function commonContext(context: CommonTlsContext | undefined, options: DecodeOptions): Common {
  if (context === undefined) throw new ResourceError("is missing");
  onlyFields(
    context,
    ["tlsCertificateProviderInstance", "tlsCertificateCertificateProviderInstance", "validationContextType"],
    ["alpnProtocols"],
  );
  const own = context.tlsCertificateProviderInstance ?? context.tlsCertificateCertificateProviderInstance;
  const identity = own && instance(own.instanceName, options);
  const { validationContextType: validation } = context;
  switch (validation.case) {
    case undefined:
      return { identity, trust: undefined, subjectNames: [] };
    case "validationContext":
      return { identity, ...validationContext(validation.value, undefined, options) };
    case "combinedValidationContext": {
      const combined = validation.value;
      onlyFields(combined, ["defaultValidationContext", "validationContextCertificateProviderInstance"]);
      const older = combined.validationContextCertificateProviderInstance?.instanceName;
      return { identity, ...validationContext(combined.defaultValidationContext, older, options) };
    }
    case "validationContextCertificateProviderInstance":
      return { identity, trust: instance(validation.value.instanceName, options), subjectNames: [] };
    default:
      throw new ResourceError(`${validation.case} is not supported; name a certificate provider instance`);
  }
}

/** A validation context, plain or the default of a combined one, must say where the roots come from (R51). */
function validationContext(
  context: CertificateValidationContext | undefined,
  older: string | undefined,
  options: DecodeOptions,
): Pick<Common, "trust" | "subjectNames"> {
  if (context !== undefined) {
    onlyFields(context, ["caCertificateProviderInstance", "matchTypedSubjectAltNames", "matchSubjectAltNames"]);
  }
  const roots = context?.caCertificateProviderInstance?.instanceName ?? older;
  if (roots === undefined) throw new ResourceError("the validation context names no certificate provider instance");
  return { trust: instance(roots, options), subjectNames: context === undefined ? [] : subjectNames(context, options) };
}

/** R53: exact, prefix, suffix, contains or regex over any name of the certificate. */
function subjectNames(context: CertificateValidationContext, options: DecodeOptions): StringMatch[] {
  const plain = each("match_subject_alt_names", context.matchSubjectAltNames, (one) => stringMatch(one, options));
  const typed = each("match_typed_subject_alt_names", context.matchTypedSubjectAltNames, (one) => {
    if (
      one.sanType === SubjectAltNameMatcher_SanType.SAN_TYPE_UNSPECIFIED ||
      one.sanType === SubjectAltNameMatcher_SanType.OTHER_NAME
    ) {
      throw new ResourceError(`san_type ${one.sanType} is not supported; use DNS, URI, IP_ADDRESS or EMAIL`);
    }
    if (one.matcher === undefined) throw new ResourceError("matcher is missing");
    return stringMatch(one.matcher, options);
  });
  const all = [...plain, ...typed];
  if (all.some((match) => match.kind === "exact" && match.value === "")) {
    throw new ResourceError("an empty subject name matches no certificate; name one");
  }
  return all;
}

/** A name that the bootstrap lacks is an error, never "no TLS" (BS9). */
function instance(name: string, options: DecodeOptions): string {
  if (!options.certificateProviders.has(name)) {
    throw new ResourceError(
      `certificate provider instance ${JSON.stringify(name)} is not in the bootstrap's certificate_providers`,
    );
  }
  return name;
}
