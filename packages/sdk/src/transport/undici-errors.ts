import { MeshError, type MeshErrorCode } from "@trama/engine";

import { errors } from "../undici-parts.ts";

/** What undici reports by code, in the engine's terms. Read codes only: messages are for people. */
const codes: Readonly<Record<string, MeshErrorCode>> = {
  UND_ERR_SOCKET: "RESET",
  UND_ERR_HEADERS_TIMEOUT: "TIMEOUT",
  UND_ERR_BODY_TIMEOUT: "TIMEOUT",
  UND_ERR_HEADERS_OVERFLOW: "PROTOCOL_ERROR",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "PROTOCOL_ERROR",
  UND_ERR_RES_EXCEEDED_MAX_SIZE: "PROTOCOL_ERROR",
  UND_ERR_INVALID_ARG: "BAD_REQUEST",
  UND_ERR_NOT_SUPPORTED: "BAD_REQUEST",
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: "BAD_REQUEST",
  UND_ERR_DESTROYED: "CLOSED",
  UND_ERR_CLOSED: "CLOSED",
};

/**
 * Alerts by which a TLS 1.3 server refuses our certificate. They come when the handshake is over for us, perhaps with a request
 * written already; but a server that refuses the handshake gives no request to its application (RFC 8446 §4.4.2.4).
 */
export const handshakeAlerts: RegExp =
  /ALERT_(?:CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_REVOKED|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)$/;

/** Puts what ended a request into the engine's terms. `sent`: whether undici had begun to write it. */
export function fromUndici(error: Error, address: string, sent: boolean): MeshError {
  if (error instanceof MeshError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (handshakeAlerts.test(code))
    return new MeshError("TLS_FAILED", `${address}: the server refused our certificate: ${error.message}`, {
      cause: error,
    });
  // The parser's errors have a code each, or none; what else has none of undici's is an error of the socket: it is gone.
  const known = error instanceof errors().HTTPParserError ? "PROTOCOL_ERROR" : (codes[code] ?? "RESET");
  return new MeshError(known, `${address}: ${error.message}`, { sent, cause: error });
}
