import { connect as connectTcp, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls } from "node:tls";

import { textOf } from "../errors.ts";
import { codes } from "./codes.ts";
import { CallError, type TlsMaterial } from "./credentials.ts";
import type { Target } from "./target.ts";

/** Begins a connection: TCP or a Unix socket, and TLS on it where there is something to trust. Never the environment's proxy: the control plane is inside. */
export function dial(target: Target, tls: TlsMaterial | undefined, serverName: string | undefined): Socket {
  if (tls === undefined) return connectTcp(target.dial);
  const name = serverName ?? target.host;
  try {
    return connectTls({
      ...target.dial,
      ...tls,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
      // RFC 6066 §3 knows no addresses in SNI; an empty name sends none. The certificate is checked against the address all the same.
      servername: isIP(name) === 0 ? name : "",
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
    });
  } catch (error) {
    const message = `the TLS material for ${target.authority} is unusable (${textOf(error)}); check the root certificate and our own pair`;
    throw new CallError(codes.unavailable, message, error);
  }
}

/** What OpenSSL calls a chain that leads to none of our roots (X509_V_ERR_…, as Node writes them). */
const foreign: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_SIGNATURE_FAILURE",
]);

/** An error of `node:tls` beside its message: the alert in words, or whose certificate the server has shown. */
interface TlsError extends Error {
  readonly code?: string;
  readonly reason?: string;
  readonly host?: string;
  readonly cert?: { readonly subjectaltname?: string };
}

/** Why there is no connection, in one line. OpenSSL's own words tell who knows its sources, and most of them come with a line break. */
export function connectFailure(error: TlsError): string {
  // Node sums up the attempts at several addresses in an error without a message.
  if (error instanceof AggregateError && error.message === "") return error.errors.map(textOf).join("; ");
  const { code = "", message, reason = message } = error;
  if (foreign.has(code)) return `its certificate is not from the root certificate that we were given (${message})`;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const names = error.cert?.subjectaltname;
    return `its certificate is for ${names ? names.slice(0, 200) : "nobody"}, and we know it as ${error.host}`;
  }
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER") return "it does not speak TLS";
  if (code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL") return "it does not speak HTTP/2";
  if (code.startsWith("ERR_SSL_")) return `the TLS handshake failed: ${reason.trim()}`;
  return message;
}
