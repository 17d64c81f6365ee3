import type { Call } from "../call.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import { grpcStatusOfError } from "../policy/grpc-status.ts";
import { grpcStatusOf } from "../resilience/retry-policy.ts";
import type { Flow, Layer, ResponseHead, Service, Sink } from "../service.ts";
import type { State } from "../state.ts";

/** What a snapshot is told of its calls, so that it knows when the last one has ended. */
export interface CallCounter {
  begin(call: Call): void;
  end(call: Call): void;
}

/**
 * The outermost layer of every call, both sides. Nothing stands above it, so it sees whatever happens and tells telemetry
 * exactly once; it also is the wall behind which a bug below cannot break the laws for the caller: a throw becomes an
 * error, and events after the last one are swallowed.
 */
export function observe(env: Env, state: State, counter: CallCounter): Layer {
  const scope: Scope = { env, state, counter };
  return (inner: Service) => (call, sink) => {
    counter.begin(call);
    const observed = new Observed(call, sink, scope);
    if (call.protocol !== "http") observed.opened();
    if (call.aborted !== undefined) return observed.onError(call.aborted);
    try {
      inner(call, observed);
    } catch (thrown) {
      observed.onError(MeshError.from(thrown));
    }
  };
}

/** What all calls have in common. */
interface Scope {
  readonly env: Env;
  readonly state: State;
  readonly counter: CallCounter;
}

class Observed implements Sink {
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #scope: Scope;
  #headed = false;
  #ended = false;

  constructor(call: Call, sink: Sink, scope: Scope) {
    this.#call = call;
    this.#sink = sink;
    this.#scope = scope;
  }

  opened(): void {
    try {
      this.#scope.env.telemetry.onOpen?.(this.#call);
    } catch (thrown) {
      this.#telemetryFailed(thrown);
    }
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#headed || this.#ended) return;
    this.#headed = true;
    const { record, protocol } = this.#call;
    record.status = head.status;
    if (protocol === "grpc") record.grpcStatus = grpcStatusOf(head.headers);
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    if (!this.#headed || this.#ended) return;
    this.#call.record.responseBytes += chunk.byteLength;
    this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#ended) return;
    if (!this.#headed) return this.onError(new MeshError("PROTOCOL_ERROR", "an answer without a head", { sent: true }));
    const { record, protocol } = this.#call;
    if (protocol === "grpc" && record.grpcStatus < 0) record.grpcStatus = grpcStatusOf(trailers);
    this.#finish();
    this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    if (this.#ended) return;
    const { record, protocol } = this.#call;
    // Status is what the caller saw: once a head went out, it is that one. A layer that knows better has set the flag.
    if (!this.#headed) record.status = error.status;
    if (record.flag === "-") record.flag = error.flag;
    if (protocol === "grpc" && record.grpcStatus < 0) record.grpcStatus = grpcStatusOfError(error);
    this.#finish();
    this.#sink.onError(error);
  }

  /** Before the last event goes out: whoever waits for that may read the metrics. */
  #finish(): void {
    this.#ended = true;
    const call = this.#call;
    call.record.endMs = this.#scope.env.clock.now();
    try {
      this.#scope.env.telemetry.onCall(call);
    } catch (thrown) {
      this.#telemetryFailed(thrown);
    }
    this.#scope.counter.end(call);
  }

  /** Fails open (law 9). Said once in a while: at 1, 2, 4, 8, … failures. */
  #telemetryFailed(thrown: unknown): void {
    const failures = ++this.#scope.state.telemetryFailures;
    if ((failures & (failures - 1)) === 0)
      this.#scope.env.log.warn("telemetry failed; calls go on", { failures, error: String(thrown) });
  }
}
