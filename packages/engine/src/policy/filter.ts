import type { Abortable, Call } from "../call.ts";
import type { MeshError, ResponseFlag } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { ResponseHead, Sink } from "../service.ts";

/**
 * One policy in the order in which xDS lists it: authorization, fault injection, rate limits. A filter looks at the head
 * of a request, decides, and may look at the head and the end of the answer. It is built once per configuration
 * and shared by all calls, so what belongs to one call lives in a slot of that call.
 *
 * Every hook is optional, and a hook that is absent costs nothing: a chain in which nobody watches the answer hands the
 * caller's own sink on (law 3).
 */
export interface Filter {
  /** Instance name of the configuration (R33); for logs and explanations. */
  readonly name: string;
  /**
   * What a throw or a rejection means (law 9): `deny` ends the call, as everything that protects must; `ignore` logs
   * and goes on, as everything that only observes must.
   */
  readonly onFailure: "deny" | "ignore";
  /**
   * Decides about the request. Answers at once whenever it can: a promise, or a {@link PendingVerdict}, only when there
   * is something to wait for, for waiting is what makes a call slow.
   */
  onRequest?(call: Call): Verdict | Promise<Verdict> | PendingVerdict;
  /** Sees, and may change, the head of the answer: the peer's, or the local reply of this or a later filter. */
  onResponse?(call: Call, head: ResponseHead): void;
  /**
   * Runs exactly once for each call that reached this filter (law 7): answered, refused by any filter, aborted, or
   * ended by a throw. Runs before the end reaches the caller, so that what it writes into the record is seen.
   */
  onEnd?(call: Call, outcome: Outcome): void;
  /** For the rare filter that must see the bytes of the answer. Called when the filter let the request pass. */
  wrapSink?(call: Call, sink: Sink): Sink;
}

/** What a filter says of a request: let it pass, answer it here, or fail it. */
export type Verdict = "continue" | LocalReply | MeshError;

/** A verdict that is not there yet and whose waiting can be called off, so that no timer or query outlives its call. */
export interface PendingVerdict extends Abortable {
  /** May stay unsettled for ever after {@link Abortable.abort}; what it brings then is ignored. */
  readonly verdict: Promise<Verdict>;
}

/** An answer that the mesh gives itself. To a gRPC caller it is a trailers-only answer with a status. */
export interface LocalReply {
  readonly status: number;
  /** Fields besides `content-type` and those of gRPC, flat: `[name, value, …]`. */
  readonly headers?: readonly string[];
  /** Plain text; becomes `grpc-message` for gRPC. */
  readonly body?: string | Uint8Array;
  /** What the access log shows as the reason. */
  readonly flag: ResponseFlag;
  /** Absent: derived from `status` by gRPC's own table. */
  readonly grpcStatus?: number;
  /** The route's header operations leave it alone. */
  readonly asIs?: boolean;
}

/** How a call ended, as filters see it. */
export interface Outcome {
  /** Status of the head that the caller got; 0 when none came. */
  readonly status: number;
  /** Absent when the answer came to its end. */
  readonly error: MeshError | undefined;
  readonly trailers: HeaderList | undefined;
}

/**
 * What filters keep longer than a snapshot lives (law 6). The engine's keyed state implements it.
 */
export interface FilterState {
  /** One counter by name, the same object for as long as anybody uses it. */
  counter(name: string): { value: number };
}
