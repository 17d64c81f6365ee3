import type { Call } from "./call.ts";
import type { MeshError } from "./errors.ts";
import type { HeaderList } from "./headers.ts";

/**
 * The spine. A route, a cluster, an endpoint and the user's handler are all Services: something that takes
 * a call and answers through a sink. What decorates one is a {@link Layer}.
 *
 * Laws (checked for every layer, transport and adapter by `test/kit/service-laws.ts`):
 * 1. A Service never throws and returns nothing; the answer comes through the sink, possibly before it returns.
 * 2. At most one head, then data, then exactly one of end or error, which is last. 1xx are not heads.
 *    A gRPC trailers-only answer is a head and an end.
 * 3. A layer that does not care about the response passes the sink on untouched.
 * 4. `pause` and `resume` are idempotent; after `pause` a source stops within one chunk.
 * 5. `Call.abort` is idempotent, reaches the upstream, and the caller gets back its own reason.
 * 6. A call sees one snapshot. What must survive a swap lives in keyed state.
 * 7. `onEnd` of a filter runs once for each call whose chain began: local reply, abort and throw included.
 * 8. After the first byte went to the caller there is no retry. A retry needs `!error.sent` or an
 *    idempotent call, a body that can be replayed, and budget.
 * 9. Security fails closed, telemetry fails open; the filter says which.
 */
export type Service = (call: Call, sink: Sink) => void;

/** Wraps a service; composed once per snapshot, never per call. */
export type Layer = (inner: Service) => Service;

/** Where an answer goes. The events obey law 2. */
export interface Sink {
  onHead(head: ResponseHead, flow: Flow): void;
  onData(chunk: Uint8Array): void;
  onEnd(trailers: HeaderList | undefined): void;
  onError(error: MeshError): void;
}

/** Back-pressure on the source of an answer. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/** Status and fields of an answer. Filters may change `headers`; `status` is final. */
export interface ResponseHead {
  readonly status: number;
  /** Reason phrase of HTTP/1.1, where there was one. */
  readonly statusText?: string | undefined;
  readonly headers: HeaderList;
}

/** A Flow for answers that are already complete: nothing to hold back. */
export const noFlow: Flow = { pause() {}, resume() {} };
