import { constants } from "node:http2";
import { MeshError } from "@trama/engine";

import type { H2Connection } from "./h2-connection.ts";
import { handshakeAlerts } from "./undici-errors.ts";

/** What a reset stream means in gRPC's statuses (gRPC over HTTP/2, "Errors"); everything else is INTERNAL. */
const statuses: Readonly<Record<number, number>> = {
  [constants.NGHTTP2_REFUSED_STREAM]: 14,
  [constants.NGHTTP2_CANCEL]: 1,
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: 8,
  [constants.NGHTTP2_INADEQUATE_SECURITY]: 7,
};

/**
 * Why a stream ended before its answer was complete, in the engine's terms. Node closes the streams of a lost connection
 * with CANCEL, as if the peer had said so: whether the connection lives decides. `sent`: the stream had its number.
 */
export function resetOf(code: number, connection: H2Connection, sent: boolean, cause: Error | undefined): MeshError {
  const { address } = connection.pool.options.endpoint;
  if (connection.lost) return lossOf(address, sent, connection.lostBecause ?? cause);
  if (code === constants.NGHTTP2_REFUSED_STREAM)
    return new MeshError("REFUSED", `${address}: the server refused the stream`, { cause });
  if (code === constants.NGHTTP2_NO_ERROR && cause === undefined)
    return new MeshError("PROTOCOL_ERROR", `${address}: the stream ended without an answer`, { sent });
  const grpcStatus = statuses[code] ?? 13;
  return new MeshError("RESET", `${address}: the stream was reset with code ${code}`, { sent, cause, grpcStatus });
}

function lossOf(address: string, sent: boolean, cause: Error | undefined): MeshError {
  if (cause instanceof MeshError) return cause;
  const why = cause === undefined ? "" : `: ${cause.message}`;
  if (handshakeAlerts.test((cause as NodeJS.ErrnoException | undefined)?.code ?? ""))
    return new MeshError("TLS_FAILED", `${address}: the server refused our certificate${why}`, { cause });
  return new MeshError("RESET", `${address}: the connection was lost${why}`, { sent, cause });
}
