import type { ServerTls, SubjectName } from "@trama/engine";
import { CertificateValidationContext_TrustChainVerification, SubjectAltNameMatcher_SanType } from "@trama/proto/lean";
import type { DataSource } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type {
  CertificateValidationContext,
  SubjectAltNameMatcher,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import type { CommonTlsContext } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { stringMatch } from "./match.ts";
import type { DecodeOptions } from "./type.ts";

/**
 * TLS with a server outside of the mesh: key material from files, or the roots of the machine (gRFC A82). `undefined`: the context is
 * about certificate providers, which are the mesh's own.
 */
export function serverTls(
  context: CommonTlsContext | undefined,
  serverName: string | undefined,
  options: DecodeOptions,
): ServerTls | undefined {
  const validation = context?.validationContextType;
  if (context === undefined || validation?.case !== "validationContext") return undefined;
  const trust = validation.value;
  const roots = rootsOf(trust);
  if (roots === undefined) return undefined;
  onlyFields(context, ["tlsCertificates", "validationContextType"], ["alpnProtocols"]);
  return within("validation_context", () => {
    onlyFields(trust, ["trustedCa", "systemRootCerts", "crl", "matchTypedSubjectAltNames", "trustChainVerification"]);
    const names = each("match_typed_subject_alt_names", trust.matchTypedSubjectAltNames, (one) => name(one, options));
    if (names.length === 0 && roots !== "none")
      throw new ResourceError("match_typed_subject_alt_names is empty: any server that the roots vouch for would do");
    return {
      kind: "server",
      certificate: certificate(context),
      roots,
      crlFile: trust.crl && file(trust.crl, "crl"),
      serverName,
      names,
    };
  });
}

function rootsOf(trust: CertificateValidationContext): ServerTls["roots"] | undefined {
  if (trust.trustChainVerification === CertificateValidationContext_TrustChainVerification.ACCEPT_UNTRUSTED)
    return "none";
  if (trust.trustedCa !== undefined) return { file: file(trust.trustedCa, "trusted_ca") };
  return trust.systemRootCerts === undefined || trust.caCertificateProviderInstance !== undefined
    ? undefined
    : "system";
}

function certificate({ tlsCertificates }: CommonTlsContext): ServerTls["certificate"] {
  const [one, another] = tlsCertificates;
  if (another !== undefined) unsupported("a second tls_certificates entry");
  if (one === undefined) return undefined;
  return within("tls_certificates[0]", () => {
    onlyFields(one, ["certificateChain", "privateKey"]);
    return { chainFile: file(one.certificateChain, "certificate_chain"), keyFile: file(one.privateKey, "private_key") };
  });
}

/** Keys do not travel (S35), and what does not travel does not get into logs: only the names of files do. */
function file(source: DataSource | undefined, field: string): string {
  if (source?.specifier.case !== "filename" || source.specifier.value === "")
    throw new ResourceError(`${field} must be a filename`);
  return source.specifier.value;
}

const kinds: Readonly<Record<number, SubjectName["kind"]>> = {
  [SubjectAltNameMatcher_SanType.DNS]: "dns",
  [SubjectAltNameMatcher_SanType.URI]: "uri",
  [SubjectAltNameMatcher_SanType.IP_ADDRESS]: "ip",
  [SubjectAltNameMatcher_SanType.EMAIL]: "email",
};

function name({ sanType, matcher }: SubjectAltNameMatcher, options: DecodeOptions): SubjectName {
  const kind = kinds[sanType];
  if (kind === undefined)
    throw new ResourceError(`san_type ${sanType} is not supported; use DNS, URI, IP_ADDRESS or EMAIL`);
  const match = matcher && stringMatch(matcher, options);
  if (match?.kind !== "exact" || match.value === "")
    throw new ResourceError("only exact names of a server are supported");
  return { kind, value: match.value };
}
