import { constants, type X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import {
  type ClusterConfig,
  compileString,
  type EndpointConfig,
  type StringMatch,
  type UpstreamTls,
} from "@trama/engine";
import { type Identity, identityOf, type SpiffeId } from "@trama/xds";

import { compileRegex } from "../env/regex.ts";

/** The one certificate provider instance of the mesh's own identity, and the name of its roots (I23). */
const identityInstance = "default";
const trustInstances: ReadonlySet<string> = new Set(["default", "ROOTCA"]);

/**
 * Contexts of the newest identity. One for each epoch: making one for each connection would cost 0.4 ms. Clients and
 * servers share none, for a server's refuses tickets: a resumed session carries no certificate whose identity could be
 * checked, and would outlive a change of policy or trust (dataplane.md §19).
 */
export class SecureContexts {
  #epoch = -1;
  #withCertificate: SecureContext | undefined;
  #rootsOnly: SecureContext | undefined;
  #server: SecureContext | undefined;

  client(identity: Identity, showCertificate: boolean): SecureContext {
    this.#turn(identity);
    if (!showCertificate)
      return (this.#rootsOnly ??= createSecureContext({ ca: [...identity.rootsPem], minVersion: "TLSv1.2" }));
    return (this.#withCertificate ??= createSecureContext({
      key: identity.keyPem,
      cert: identity.chainPem,
      ca: [...identity.rootsPem],
      minVersion: "TLSv1.2",
    }));
  }

  server(identity: Identity): SecureContext {
    this.#turn(identity);
    return (this.#server ??= createSecureContext(serverContextOptions(identity)));
  }

  #turn(identity: Identity): void {
    if (this.#epoch === identity.epoch) return;
    this.#epoch = identity.epoch;
    this.#withCertificate = this.#rootsOnly = this.#server = undefined;
  }
}

/** For `tls.createServer` and `setSecureContext`. */
export function serverContextOptions(identity: Identity): {
  key: string;
  cert: string;
  ca: string[];
  minVersion: "TLSv1.2";
  secureOptions: number;
} {
  return {
    key: identity.keyPem,
    cert: identity.chainPem,
    ca: [...identity.rootsPem],
    minVersion: "TLSv1.2",
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** How to reach this endpoint: TLS settings, or `undefined` for plaintext by policy. */
export function tlsFor(cluster: ClusterConfig, endpoint: EndpointConfig): UpstreamTls | undefined {
  const { tlsByMode } = cluster;
  return tlsByMode.size > 0 && tlsByMode.has(endpoint.tlsMode) ? tlsByMode.get(endpoint.tlsMode) : cluster.tls;
}

const keys = new WeakMap<UpstreamTls, string>();

/** Equal for settings that may share connections, even when they came in different messages. */
export function tlsKey(tls: UpstreamTls): string {
  let key = keys.get(tls);
  if (key === undefined) keys.set(tls, (key = JSON.stringify(tls)));
  return key;
}

/** Why these settings cannot be served: they name key material that this process does not have. */
export function unknownProvider(tls: {
  readonly identity: string | undefined;
  readonly trust: string | undefined;
}): string | undefined {
  if (tls.identity !== undefined && tls.identity !== identityInstance) return tls.identity;
  if (tls.trust !== undefined && !trustInstances.has(tls.trust)) return tls.trust;
  return undefined;
}

/**
 * Whether the peer's verified leaf is one of the names that the configuration accepts, and of a trust domain that our roots
 * speak for. Replaces the host-name check (R53). Returns the identity, or the reason for people.
 */
export function checkPeer(
  certificate: X509Certificate | undefined,
  accepted: readonly StringMatch[],
  trustDomain: string,
): SpiffeId | string {
  if (certificate === undefined) return "it showed no certificate";
  const id = identityOf(certificate);
  if (typeof id === "string") return id;
  if (id.trustDomain !== trustDomain)
    return `it is ${id.uri}, and our roots vouch for trust domain ${trustDomain} only`;
  if (accepted.length > 0 && !accepted.some((match) => compileString(match, compileRegex)(id.uri)))
    return `it is ${id.uri}, which is not among the accepted names`;
  return id;
}
