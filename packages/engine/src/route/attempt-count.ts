import type { Call } from "../call.ts";
import type { VirtualHost } from "../config.ts";
import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";

/** Envoy's name for it, both ways. */
const FIELD = "x-envoy-attempt-count";

/**
 * Tells the number of attempts where a virtual host asks for it: to the peer with each attempt, the first included, and to
 * the caller with the answer. `undefined` where it does not, which is the rule.
 */
export function attemptCountLayer(wanted: VirtualHost["attemptCount"]): Layer | undefined {
  if (wanted === undefined) return undefined;
  const { request, response } = wanted;
  return (inner) => (call, sink) => {
    if (request) call.tellAttempt = true;
    inner(call, response ? new Counted(call, sink) : sink);
  };
}

class Counted implements Sink {
  readonly #call: Call;
  readonly #sink: Sink;

  constructor(call: Call, sink: Sink) {
    this.#call = call;
    this.#sink = sink;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    head.headers.set(FIELD, String(this.#call.record.attempts));
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    this.#sink.onError(error);
  }
}
