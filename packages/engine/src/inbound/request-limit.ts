import type { Call } from "../call.ts";
import { answerLocally } from "../policy/local-reply.ts";
import type { LocalReply } from "../policy/filter.ts";
import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";

/** What Envoy answers when the breaker of an inbound cluster is open; gRPC is told UNAVAILABLE. */
const OVERFLOW: LocalReply = {
  status: 503,
  flag: "UO",
  headers: ["x-envoy-overloaded", "true"],
  body: "overflow",
};

/**
 * So many requests of one port at the application at once, and no more. Stands behind all policy, where a sidecar has the cluster of
 * its application: what a filter answers was never there. Counted to the last event, upgrades too; what is exempt is neither
 * refused nor counted, for in Istio such probes reach the application past its sidecar. `under` outlives snapshots: requests
 * that came by an older one count against the newer limit (law 6).
 */
export function requestLimit(max: number, under: { value: number }, isExempt: (call: Call) => boolean): Layer {
  return (inner) => (call, sink) => {
    if (call.aborted !== undefined) return sink.onError(call.aborted);
    if (isExempt(call)) return inner(call, sink);
    if (under.value >= max) return answerLocally(call, sink, OVERFLOW);
    under.value++;
    inner(call, new Counted(sink, under));
  };
}

class Counted implements Sink {
  readonly #sink: Sink;
  readonly #under: { value: number };

  constructor(sink: Sink, under: { value: number }) {
    this.#sink = sink;
    this.#under = under;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.#under.value--;
    this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    this.#under.value--;
    this.#sink.onError(error);
  }
}
