import type { GrpcMethod } from "@trama/proto/lean";

/**
 * How the ADS state machine reaches a server: one bidirectional stream at a time. A port, so that the state machine is tested
 * without sockets.
 */
export interface StreamTransport {
  /**
   * Opens a stream, with roots, certificate and token read anew. Never throws: what fails is told
   * by `onEnd`. Handlers are called asynchronously, and never again after `onEnd` or {@link BidiStream.close}.
   */
  open<Request, Response>(
    method: GrpcMethod<Request, Response>,
    handlers: StreamHandlers<Response>,
  ): BidiStream<Request>;
}

export interface StreamHandlers<Response> {
  /** The connection stands and requests are on their way: does-not-exist timers may run from here (R10). Once. */
  onOpen(): void;
  onMessage(message: Response): void;
  /** Once, last; not after `close`. */
  onEnd(status: StreamStatus): void;
}

export interface BidiStream<Request> {
  /** Before `onOpen` messages are kept and go out in order; after the end they are dropped. */
  send(message: Request): void;
  /** Idempotent. No more than what was already on its way is buffered; the rest waits in the peer (R25). */
  pause(): void;
  resume(): void;
  /** Ends the stream, and its connection where nobody shares it. Idempotent; no handler is called afterwards. */
  close(): void;
}

/** How a stream ended, in gRPC's terms. */
export interface StreamStatus {
  /** gRPC status code; 0 is an orderly end. */
  readonly code: number;
  readonly message: string;
}

/** A certificate with its key, to show to a control plane. */
export interface ClientCertificate {
  /** Leaf first, then intermediates. */
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}
