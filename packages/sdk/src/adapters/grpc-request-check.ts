import type { IncomingHttpHeaders } from "node:http2";
import { canonicalHost } from "@trama/engine";

import { parseTimeout } from "../transport/grpc-timeout.ts";
import { attemptCountField, previousAttemptsField, readHopField } from "../transport/hop-fields.ts";
import { peerHeader } from "../transport/upstream-request.ts";
import type { Connection } from "./connection.ts";
import { forgetLast, isInternal, noteInternal } from "./request-check.ts";

/** Envoy's default `max_request_headers_count`. */
const maxHeaders = 100;
/** grpc-js counts milliseconds in 32 bits; what is longer wraps to nothing there, and means the same as no time-out. */
const longestMs = 0x7fff_ffff;

/** A request in the one form that policy and application both see. */
export interface CheckedRequest {
  readonly authority: string;
  /** Without pseudo fields and without what only the mesh may say. */
  readonly flat: string[];
  /** Of `grpc-timeout`; `Infinity` without one. */
  readonly timeoutMs: number;
}

/**
 * Brings the head of a gRPC request into that form, or says why it is refused (dataplane.md §23 rules 1, 3, 4, 5; §25 rows 9, 19, 20).
 * `headers` is what grpc-js will read, so it is changed with it.
 */
export function checkGrpcRequest(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  connection: Connection,
): CheckedRequest | string {
  if (raw.length > 2 * maxHeaders) return `more than ${maxHeaders} header fields`;
  const path = headers[":path"] ?? "";
  if (!path.startsWith("/") || path.includes("#")) return "malformed path";
  const flat: string[] = [];
  let timeout: string | undefined;
  let authority: string | undefined = headers[":authority"];
  forgetLast(connection);
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (name.startsWith(":")) continue;
    if (isInternal(name)) {
      // gRPC says its deadline itself, so of these fields the two others count.
      const wrong =
        name === peerHeader || name === attemptCountField ? noteInternal(connection, name, value) : undefined;
      if (wrong !== undefined) return wrong;
      delete headers[name];
      continue;
    }
    if (name === "host") {
      if (authority !== undefined && authority.toLowerCase() !== value.toLowerCase())
        return "host and :authority differ";
      authority = value;
    } else if (name === "grpc-timeout") {
      if (timeout !== undefined) return "more than one grpc-timeout";
      timeout = value;
    } else if (name === previousAttemptsField && connection.mesh.peer.mtls) {
      const wrong = readHopField(connection.hop, name, value);
      if (wrong !== undefined) return wrong;
    }
    flat.push(name, value);
  }
  const { host } = connection;
  if (authority === undefined) return "no authority";
  if (authority !== host.text) {
    if (!canonicalHost(authority).ok) return "malformed authority";
    host.text = authority;
    host.authority = authority.toLowerCase();
  }
  const timeoutMs = timeout === undefined ? Infinity : parseTimeout(timeout);
  if (timeoutMs === undefined) return "invalid grpc-timeout";
  if (timeoutMs > longestMs) delete headers["grpc-timeout"];
  return { authority: host.authority, flat, timeoutMs: timeoutMs > longestMs ? Infinity : timeoutMs };
}
