import type { Abortable, Call } from "./call.ts";
import type { ClusterConfig, EndpointConfig } from "./config.ts";
import type { MeshError } from "./errors.ts";
import type { Sink } from "./service.ts";

/**
 * Sends one attempt to one endpoint and brings its answer back. The sdk implements it over undici, and over HTTP/2 streams of its own;
 * the engine never sees a socket. Obeys the Service laws; an error carries `sent` truthfully, for retries hang on it.
 */
export interface Transport {
  /** Starts the attempt and binds what can stop it ({@link Attempt.bind}). Never throws. */
  send(attempt: Attempt, sink: Sink): void;
}

/** One try of a call at one endpoint. Made by the attempts layer, one object each. */
export class Attempt implements Abortable {
  readonly call: Call;
  readonly cluster: ClusterConfig;
  /** Picked when the attempt is sent: a transport always finds it here. */
  endpoint!: EndpointConfig;
  /** 1 for the first. */
  readonly number: number;
  /** Set by the transport as soon as a byte of the request may have left the process. */
  sent = false;
  /** Who answers at the other end, set by the transport with its connection. */
  peer: { readonly mtls: boolean; readonly spiffeId: string | undefined } | undefined = undefined;
  #aborted: MeshError | undefined = undefined;
  #handle: Abortable | undefined = undefined;

  constructor(call: Call, cluster: ClusterConfig, endpoint: EndpointConfig | undefined, number: number) {
    this.call = call;
    this.cluster = cluster;
    if (endpoint !== undefined) this.endpoint = endpoint;
    this.number = number;
  }

  /**
   * Which attempt at the work this is, counted over all hops: retries of callers further up are attempts at it too. What
   * `x-envoy-attempt-count` and `grpc-previous-rpc-attempts` tell the peer.
   */
  get total(): number {
    return this.number + this.call.callerAttempt - 1;
  }

  /** Called by the transport with what stops the request; at once told if the attempt was aborted meanwhile. */
  bind(handle: Abortable): void {
    this.#handle = handle;
    if (this.#aborted !== undefined) handle.abort(this.#aborted);
  }

  /** Idempotent. Reaches the peer as a closed connection or a reset stream. */
  abort(reason: MeshError): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = reason;
    this.#handle?.abort(reason);
  }
}
