import { Metadata, type StatusObject } from "@grpc/grpc-js";
import { grpcStatusOf, grpcStatusOfError, type HeaderList, type MeshError } from "@trama/engine";

/** A status as grpc-js hands it on; whatever else it carries ends up on the error that the application sees. */
export interface MeshStatus extends StatusObject {
  /** Why the mesh could not complete the call; absent when the status is the server's own word. */
  readonly cause?: MeshError;
}

const unknown = 2;

/** What the server said: in its trailers, or in a head without body (trailers-only). */
export function statusOfTrailers(trailers: HeaderList | undefined, httpStatus: number): MeshStatus {
  const metadata = toMetadata(trailers);
  const text = trailers?.get("grpc-status");
  if (text === undefined) {
    const code = httpStatus === 200 ? unknown : grpcStatusOf(httpStatus);
    const details = httpStatus === 200 ? "the answer ended without a gRPC status" : `HTTP status ${httpStatus}`;
    return { code, details, metadata };
  }
  const details = percentDecode(trailers?.get("grpc-message") ?? "");
  metadata.remove("grpc-status");
  metadata.remove("grpc-message");
  return { code: /^\d{1,3}$/.test(text) ? Number(text) : unknown, details, metadata };
}

export function statusOfError(error: MeshError): MeshStatus {
  return { code: grpcStatusOfError(error), details: error.message, metadata: new Metadata(), cause: error };
}

/** Fields of an answer as grpc-js has them, `-bin` values decoded. */
export function toMetadata(headers: HeaderList | undefined): Metadata {
  return headers === undefined ? new Metadata() : Metadata.fromHttp2Headers(headers.record() as never);
}

/** Metadata as flat header fields, `-bin` values encoded. What HTTP/2 or the mesh itself says is not the application's to say. */
export function appendMetadata(flat: string[], metadata: Metadata): void {
  const record = metadata.toHttp2Headers();
  for (const name in record) {
    if (reserved.has(name) || name.startsWith("x-trama-")) continue;
    const value = record[name];
    if (typeof value === "string") flat.push(name, value);
    else if (Array.isArray(value)) for (const one of value) flat.push(name, one);
  }
}

const reserved: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-previous-rpc-attempts",
  "grpc-timeout",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "user-agent",
  "x-envoy-attempt-count",
  "x-envoy-expected-rq-timeout-ms",
]);

function percentDecode(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
