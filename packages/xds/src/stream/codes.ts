import { constants } from "node:http2";

/** Status codes of gRPC that we name ourselves (https://grpc.io/docs/guides/status-codes/). */
export const codes = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** What a stream's reset means (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors). */
export function codeOfReset(rstCode: number): number {
  switch (rstCode) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return codes.unavailable;
    case constants.NGHTTP2_CANCEL:
      return codes.cancelled;
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return codes.resourceExhausted;
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return codes.permissionDenied;
    default:
      return codes.internal;
  }
}
