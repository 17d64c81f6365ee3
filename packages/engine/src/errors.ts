/**
 * Why a call failed, as a closed set: programs switch on `code`, people read `message`.
 * The HTTP status is what an Envoy sidecar would have answered, and is what metrics record; `flag` is
 * Envoy's response flag (`%RESPONSE_FLAGS%`). Retry decisions read facts (`sent`), never messages.
 */
const CODES: Codes = {
  /** No virtual host or route matched. */
  NO_ROUTE: { status: 404, flag: "NR" },
  /** The route names a cluster or subset that does not exist. */
  NO_CLUSTER: { status: 503, flag: "NC" },
  /** The cluster has no endpoint that may take traffic. */
  NO_HEALTHY_ENDPOINT: { status: 503, flag: "UH" },
  /** A circuit breaker (connections, pending, requests, retries) refused the call. */
  OVERFLOW: { status: 503, flag: "UO" },
  /** TCP connect refused, unreachable or timed out: nothing was sent. */
  CONNECT_FAILED: { status: 503, flag: "UF" },
  /** TLS handshake failed, or the peer is not who it must be: nothing was sent. */
  TLS_FAILED: { status: 503, flag: "UF" },
  /** The connection ended before the answer was complete. */
  RESET: { status: 503, flag: "UC" },
  /** HTTP/2 REFUSED_STREAM, or a keep-alive connection that the server closed before it read the request. */
  REFUSED: { status: 503, flag: "UR" },
  /** The peer broke the protocol. */
  PROTOCOL_ERROR: { status: 502, flag: "UPE" },
  /** One attempt ran out of its per-try time. */
  PER_TRY_TIMEOUT: { status: 504, flag: "UT" },
  /** The whole call ran out of time. */
  TIMEOUT: { status: 504, flag: "UT" },
  /** Nothing moved on the call for as long as its route allows; 408 while the caller had yet to go on. */
  IDLE_TIMEOUT: { status: 504, flag: "SI" },
  /** The caller gave up; `cause` is the caller's own reason, handed back unchanged. */
  ABORTED: { status: 0, flag: "DC" },
  /** Authorization refused the request. */
  DENIED: { status: 403, flag: "UAEX" },
  /** Policy blocks destinations that the mesh does not know (`REGISTRY_ONLY`). */
  BLOCKED: { status: 502, flag: "UH" },
  /** No configuration for this host arrived in time, or the control plane cannot be reached and nothing is cached. */
  NO_CONFIG: { status: 503, flag: "NC" },
  /** The request is malformed and was refused before it reached the application. */
  BAD_REQUEST: { status: 400, flag: "DPE" },
  /** The mesh or the server is closing. */
  CLOSED: { status: 503, flag: "LR" },
  /** A bug in a filter, picker or handler; security filters that end here deny. */
  INTERNAL: { status: 500, flag: "-" },
};

/** Envoy's response flags, as far as the engine sets them. `-` means a clean call. */
export type ResponseFlag =
  | "-"
  | "NR"
  | "NC"
  | "UH"
  | "UO"
  | "UF"
  | "UC"
  | "UR"
  | "UPE"
  | "UT"
  | "URX"
  | "DC"
  | "DPE"
  | "UAEX"
  | "LR"
  | "FI"
  | "DI"
  | "DT"
  | "RL"
  | "SI"
  | "OM"
  | "DO";

export type MeshErrorCode =
  | "NO_ROUTE"
  | "NO_CLUSTER"
  | "NO_HEALTHY_ENDPOINT"
  | "OVERFLOW"
  | "CONNECT_FAILED"
  | "TLS_FAILED"
  | "RESET"
  | "REFUSED"
  | "PROTOCOL_ERROR"
  | "PER_TRY_TIMEOUT"
  | "TIMEOUT"
  | "IDLE_TIMEOUT"
  | "ABORTED"
  | "DENIED"
  | "BLOCKED"
  | "NO_CONFIG"
  | "BAD_REQUEST"
  | "CLOSED"
  | "INTERNAL";

type Codes = Readonly<Record<MeshErrorCode, { readonly status: number; readonly flag: ResponseFlag }>>;

export interface MeshErrorOptions {
  /** True once any byte of the request may have reached the peer's application. Default `false`. */
  readonly sent?: boolean;
  /** What caused it: kept for people, never parsed. For `ABORTED` the caller's own reason. */
  readonly cause?: unknown;
  /** Overrides the code's HTTP status. */
  readonly status?: number;
  /** Overrides the code's response flag. */
  readonly flag?: ResponseFlag;
  /**
   * A time-out that ran out because our own event loop was blocked: it says nothing of the endpoint, and outlier detection does
   * not count it. Default `false`.
   */
  readonly ownDelay?: boolean;
  /** What a gRPC caller is told, where the code alone does not say it: a reset stream carries a reason of its own. */
  readonly grpcStatus?: number | undefined;
}

export class MeshError extends Error {
  override readonly name = "MeshError";
  readonly code: MeshErrorCode;
  /** What an Envoy sidecar would have answered; `0` when there is nobody left to answer. */
  readonly status: number;
  readonly flag: ResponseFlag;
  /** Whether the request may have reached the application behind the peer. Decides what may be retried (law 8). */
  readonly sent: boolean;
  /** Time ran out while our own event loop was blocked: the upstream may have answered in time. */
  readonly ownDelay: boolean;
  /** Overrides the gRPC status of the code; see `grpcStatusOfError`. */
  readonly grpcStatus: number | undefined;

  constructor(code: MeshErrorCode, message: string, options: MeshErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? CODES[code].status;
    this.flag = options.flag ?? CODES[code].flag;
    this.sent = options.sent ?? false;
    this.ownDelay = options.ownDelay ?? false;
    this.grpcStatus = options.grpcStatus;
  }

  /** One funnel for whatever was thrown: a MeshError passes, anything else becomes `INTERNAL` with its cause kept. */
  static from(thrown: unknown, code: MeshErrorCode = "INTERNAL"): MeshError {
    if (thrown instanceof MeshError) return thrown;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    return new MeshError(code, text, { cause: thrown });
  }
}

/** Every code with its status and flag, for the documented table and its test. */
export const meshErrorCodes: Codes = CODES;
