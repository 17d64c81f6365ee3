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
