import type { MeshError } from "../errors.ts";

/** gRPC's own table for an HTTP answer that is not gRPC (grpc `doc/http-grpc-status-mapping.md`), as Envoy's local replies use it. */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return 13; // INTERNAL
    case 401:
      return 16; // UNAUTHENTICATED
    case 403:
      return 7; // PERMISSION_DENIED
    case 404:
      return 12; // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504:
      return 14; // UNAVAILABLE
    default:
      return 2; // UNKNOWN
  }
}

/** What an HTTP caller sees of a gRPC status (google.rpc.Code), for a fault that was written in gRPC's terms. */
export function httpStatusOf(grpcStatus: number): number {
  return HTTP[grpcStatus] ?? 500;
}

/** By code: OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, … */
const HTTP = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];

/**
 * What a gRPC caller is told of a call that brought no answer. Only codes that a library may produce: a missing route or
 * cluster is UNAVAILABLE, never NOT_FOUND or UNIMPLEMENTED, which would seem to be the server's own word (R69, gRFC A54).
 */
export function grpcStatusOfError(error: MeshError): number {
  if (error.grpcStatus !== undefined) return error.grpcStatus;
  switch (error.code) {
    case "ABORTED":
      return 1; // CANCELLED
    case "TIMEOUT":
    case "PER_TRY_TIMEOUT":
      return 4; // DEADLINE_EXCEEDED
    case "DENIED":
      return 7; // PERMISSION_DENIED
    case "BAD_REQUEST":
    case "INTERNAL":
      return 13; // INTERNAL
    case "PROTOCOL_ERROR":
      return error.status === 503 ? 14 : 13;
    default:
      return 14; // UNAVAILABLE
  }
}
