import type { MeshError } from "../errors.ts";
import type { Endpoint } from "./endpoint.ts";

/**
 * Is told the end of every attempt at a cluster: outlier detection, and balancers that learn from answers. Called on
 * the request path, so it allocates nothing and does little; a cluster without observers pays one comparison a call.
 */
export interface AttemptObserver {
  /** Wants `headMs`. Without such an observer nobody reads the clock for an attempt. */
  readonly timed: boolean;
  /**
   * Once for each attempt that was given to the transport.
   *
   * - `status`: of the head that came; 0 when none did.
   * - `grpcStatus`: of a gRPC call, from the head or the trailers; -1 when it is not gRPC or nothing was said.
   * - `error`: what ended it, if no answer did; an answer that broke off has both a status and an error.
   * - `headMs`: from sending to the head; -1 when no head came or the cluster is not `timed`.
   * - `counts`: false when the end says nothing of the endpoint: the caller gave up, the attempt lost a race, our own
   *   limits refused it, or our event loop was blocked when its time ran out. Only what was held for the attempt is to
   *   be given back then.
   * - `askedMs`: the pause that a failure asked for (`Retry-After`, `grpc-retry-pushback-ms`); -1 when it asked for none or
   *   the cluster is not `timed`.
   */
  attemptEnded(
    endpoint: Endpoint,
    status: number,
    grpcStatus: number,
    error: MeshError | undefined,
    headMs: number,
    counts: boolean,
    askedMs: number,
  ): void;
  /** At the head of an answer, before its end is told: for those who cannot wait for the end of a stream. */
  attemptAnswered?(endpoint: Endpoint, status: number, grpcStatus: number, headMs: number): void;
}

/** Whether an error that ended an attempt says anything of the endpoint: what we refused or gave up ourselves does not. */
export function blamesEndpoint(error: MeshError): boolean {
  if (error.ownDelay) return false;
  switch (error.code) {
    case "CONNECT_FAILED":
    case "TLS_FAILED":
    case "RESET":
    case "REFUSED":
    case "PROTOCOL_ERROR":
    case "PER_TRY_TIMEOUT":
    case "TIMEOUT":
      return true;
    default:
      return false;
  }
}
