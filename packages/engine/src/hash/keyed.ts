import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";
import { RouteKey } from "./call-key.ts";
import type { HashPlan } from "./call-key.ts";

/** Hands the calls of a route their keys, and callers without the cookie a new one with the answer. */
export function keyed(plan: HashPlan): Layer {
  if (!plan.givesCookies)
    return (inner) => (call, sink) => {
      call.key = new RouteKey(plan);
      inner(call, sink);
    };
  return (inner) => (call, sink) => {
    const key = new RouteKey(plan);
    call.key = key;
    inner(call, new CookieSink(key, sink));
  };
}

class CookieSink implements Sink {
  readonly #key: RouteKey;
  readonly #sink: Sink;

  constructor(key: RouteKey, sink: Sink) {
    this.#key = key;
    this.#sink = sink;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    const { cookie } = this.#key;
    if (cookie !== undefined) head.headers.append("set-cookie", cookie);
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
