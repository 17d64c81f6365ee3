import type { Call } from "../call.ts";
import type { Clock, Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { IdleWatch } from "../idle-watch.ts";
import type { Watched } from "../idle-watch.ts";
import { grpcStatusOf } from "../policy/grpc-status.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";

/**
 * The longest silence of a call, in both directions together (Envoy's `idle_timeout` of a route). It is no bound on its length: a stream
 * on which something moves goes on for as long as it likes. Stands above the filters, as in Envoy, where it belongs to the stream of the
 * caller: an injected delay is silence too.
 */
export function idleLayer(limitMs: number, { clock }: Pick<Env, "clock">): Layer {
  return (inner) => (call, sink) => {
    if (call.aborted !== undefined) return sink.onError(call.aborted);
    inner(call, new Idle(call, sink, limitMs, clock));
  };
}

class Idle implements Sink, Watched {
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #limitMs: number;
  readonly #watch: IdleWatch;
  #ended = false;

  constructor(call: Call, sink: Sink, limitMs: number, clock: Clock) {
    this.#call = call;
    this.#sink = sink;
    this.#limitMs = limitMs;
    this.#watch = new IdleWatch(call.body, limitMs, clock, this);
  }

  /** As with a deadline, one that does not answer to the abort at once is not waited for. */
  fallSilent(): void {
    if (this.#ended) return;
    const { body, record } = this.#call;
    // Envoy's two statuses: whose turn it was to go on.
    const status = body.isOpen?.() === true ? 408 : 504;
    const error = new MeshError("IDLE_TIMEOUT", `nothing moved on the call for ${this.#limitMs} ms`, {
      sent: record.attempts > 0,
      status,
      grpcStatus: grpcStatusOf(status),
    });
    this.#call.abort(error);
    this.onError(this.#call.aborted ?? error);
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#ended) return;
    // What moves on a switched connection is not seen here.
    if (head.status === 101) this.#watch.stop();
    else this.#watch.touch();
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#watch.touch();
    this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#end()) this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    if (this.#end()) this.#sink.onError(error);
  }

  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#watch.stop();
    return true;
  }
}
