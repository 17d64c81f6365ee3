import type { HeaderRecord, RequestBody } from "@trama/engine";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

/** What undici takes as a request body. */
export type BodyValue =
  | Dispatcher.DispatchOptions["body"]
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string>;

/**
 * A request body as the HTTP transport sends it, with what else belongs to the request on the wire and is not the engine's
 * business. Adapters extend it, so that it costs no object of its own.
 */
export abstract class HttpBody implements RequestBody {
  /** Asked once for each attempt. */
  abstract get value(): BodyValue;
  /** The authority before any layer rewrote it: as long as it is the call's, the `host` field in the headers holds. */
  abstract readonly authority: string;
  abstract get headersTimeout(): number | null | undefined;
  abstract get bodyTimeout(): number | null | undefined;
  /** Protocol to switch to, such as `websocket`. */
  abstract get upgrade(): string | null;
  /** A stream that is read cannot be read again. */
  #consumed = false;

  canReplay(): boolean {
    return !this.#consumed;
  }

  /** Called when the first byte may leave. */
  begin(): void {
    if (isOneShot(this.value)) this.#consumed = true;
  }

  /** Fields behind the body, asked when its last byte was sent; absent: there will be none. Only HTTP/2 carries them (transport/h2-request.ts). */
  abstract get trailers(): (() => HeaderRecord) | undefined;

  /** An interim answer, 1xx: not a head (law 2), and from an attempt that may yet be repeated. */
  abstract informed(status: number, headers: HeaderRecord): void;

  /** Reading the body failed, by the application's doing: the call ends with that very error. */
  abstract failed(error: Error): void;

  /** The peer switched protocols; the socket is the caller's from here on. */
  abstract switched(status: number, headers: Record<string, string | string[]>, socket: Duplex): void;
}

/** Text and bytes in memory, and forms and blobs, can be sent again; streams and iterables cannot. */
export function isOneShot(value: BodyValue): boolean {
  if (value === null || value === undefined || typeof value === "string") return false;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return false;
  if (value instanceof Blob || "append" in (value as object)) return false;
  return true;
}
