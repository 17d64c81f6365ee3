import type { RequestBody } from "@trama/engine";

/** Where a body is written: the request half of one stream. */
export interface BodyWriter {
  /** `done` is called when the peer's window had room for it, or when the stream is gone. */
  write(chunk: Buffer, done?: () => void): void;
  end(): void;
}

/** What keeps an otherwise silent connection known to be alive (gRFC A8); times in milliseconds. */
export interface KeepAlive {
  readonly timeMs: number;
  readonly timeoutMs: number;
  readonly withoutCalls: boolean;
}

/**
 * A request body that is written while it comes into being. The HTTP/2 transport hands it a writer for each attempt; the body writes
 * from its first byte, and goes on as its caller does. Adapters extend it, so that it costs no object of its own.
 */
export abstract class StreamBody implements RequestBody {
  /** The authority before any layer rewrote it. */
  abstract readonly authority: string;
  /** What goes out as `:authority` for as long as nobody rewrote it. */
  abstract readonly wireAuthority: string;
  abstract readonly keepAlive: KeepAlive | undefined;
  abstract canReplay(): boolean;
  abstract isOpen(): boolean;
  abstract attach(writer: BodyWriter): void;
  /** The attempt of this writer is over. */
  abstract detach(writer: BodyWriter): void;
}
