import type { Abortable, Call } from "../call.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Service, Sink } from "../service.ts";
import type { Filter, PendingVerdict, Verdict } from "./filter.ts";
import { type AnswerEdit, answerLocally } from "./local-reply.ts";

/**
 * Turns an ordered list of filters into one layer. Requests run through it in order and synchronously; only a filter
 * that returns a promise makes its call wait, and no other call pays for that. When no filter watches the
 * answer, a call that nobody holds up allocates nothing here and the inner service gets the caller's own sink (law 3).
 * `edit` is what the route does to the answers that filters give themselves.
 */
export function filterLayer(filters: readonly Filter[], env: Pick<Env, "log">, edit?: AnswerEdit): Layer {
  if (filters.length === 0) return (inner) => inner;
  const watched = filters.some((filter) => WATCHING.some((hook) => filter[hook] !== undefined));
  return (inner) => {
    const chain: Chain = { filters, inner, env, watched, edit };
    if (watched) return (call, sink) => new Run(chain, call, sink).from(0);
    return (call, sink) => {
      if (call.aborted !== undefined) return sink.onError(call.aborted);
      for (let at = 0; at < filters.length; at++) {
        const verdict = ask(chain, at, call);
        if (verdict === "continue") continue;
        return new Run(chain, call, sink).resume(at, verdict);
      }
      if (call.aborted !== undefined) return sink.onError(call.aborted);
      inner(call, sink);
    };
  };
}

/** The hooks for which a call's sink must be replaced. */
const WATCHING = ["onResponse", "onEnd", "wrapSink"] as const;

interface Chain {
  readonly filters: readonly Filter[];
  readonly inner: Service;
  readonly env: Pick<Env, "log">;
  readonly watched: boolean;
  readonly edit: AnswerEdit | undefined;
}

type Asked = Verdict | Promise<Verdict> | PendingVerdict;

/** One filter's answer; a throw is a verdict too (law 9). */
function ask(chain: Chain, at: number, call: Call): Asked {
  const filter = chain.filters[at]!;
  if (filter.onRequest === undefined) return "continue";
  try {
    return filter.onRequest(call);
  } catch (thrown) {
    return failed(chain, filter, "onRequest", thrown);
  }
}

/** What a failure of a filter means by its own word. The caller learns which filter, the log learns why. */
function failed(chain: Chain, filter: Filter, hook: string, thrown: unknown): "continue" | MeshError {
  const fields = { filter: filter.name, hook, error: thrown };
  if (filter.onFailure === "ignore") {
    chain.env.log.warn("a filter failed and was passed over", fields);
    return "continue";
  }
  chain.env.log.error("a filter failed, so the call is refused", fields);
  return new MeshError("INTERNAL", `filter "${filter.name}" failed`, { cause: thrown });
}

/**
 * One call's way through a chain that waits, replies, or watches the answer. States: asking (`#began` grows), waiting
 * (`#pending`, and this is what `Call.abort` stops), forwarded (the inner service owns the call), ended.
 */
class Run implements Sink, Abortable {
  readonly #chain: Chain;
  readonly #call: Call;
  /** The caller's own sink. */
  readonly #sink: Sink;
  /** Where answers go in: the outermost filter's wrapper is nearest to the caller. */
  #out: Sink;
  /** How many filters the call has reached; those are owed an `onEnd`. */
  #began = 0;
  #pending: PendingVerdict | undefined = undefined;
  #waiting = false;
  #status = 0;
  #ended = false;

  constructor(chain: Chain, call: Call, sink: Sink) {
    this.#chain = chain;
    this.#call = call;
    this.#sink = sink;
    this.#out = chain.watched ? this : sink;
  }

  /** Asks the filters from `at` on, then forwards. */
  from(at: number): void {
    const { filters, inner } = this.#chain;
    for (let next = at; next < filters.length; next++) {
      if (this.#call.aborted !== undefined) return this.#out.onError(this.#call.aborted);
      this.#began = next + 1;
      const asked = ask(this.#chain, next, this.#call);
      if (asked !== "continue") return this.resume(next, asked);
      if (!this.#wrap(filters[next]!)) return;
    }
    if (this.#call.aborted !== undefined) return this.#out.onError(this.#call.aborted);
    inner(this.#call, this.#out);
  }

  /** Goes on with what filter `at` said, which may be a promise. */
  resume(at: number, asked: Asked): void {
    this.#began = at + 1;
    if (typeof asked === "object" && !(asked instanceof MeshError)) {
      if ("then" in asked) return this.#wait(at, asked);
      if ("verdict" in asked) {
        this.#pending = asked;
        return this.#wait(at, asked.verdict);
      }
      return answerLocally(this.#call, this.#out, asked, this.#chain.edit);
    }
    if (asked !== "continue") return this.#out.onError(asked);
    if (this.#wrap(this.#chain.filters[at]!)) this.from(at + 1);
  }

  #wait(at: number, verdict: Promise<Verdict>): void {
    this.#waiting = true;
    this.#call.active = this;
    const settled = (asked: Verdict): void => {
      if (!this.#waiting) return;
      this.#stopWaiting();
      this.resume(at, asked);
    };
    verdict.then(settled, (thrown: unknown) => {
      if (this.#waiting) settled(failed(this.#chain, this.#chain.filters[at]!, "onRequest", thrown));
    });
    // A filter may have aborted the call itself before it began to wait.
    if (this.#call.aborted !== undefined) this.abort(this.#call.aborted);
  }

  #stopWaiting(): void {
    this.#waiting = false;
    this.#pending = undefined;
    if (this.#call.active === this) this.#call.active = undefined;
  }

  /** Only a chain that waits is bound to the call; later the stage that sends is. */
  abort(reason: MeshError): void {
    if (!this.#waiting) return;
    const pending = this.#pending;
    this.#stopWaiting();
    try {
      pending?.abort(reason);
    } catch (thrown) {
      this.#chain.env.log.error("a filter failed while its waiting was called off", { error: thrown });
    }
    this.#out.onError(reason);
  }

  #wrap(filter: Filter): boolean {
    if (filter.wrapSink === undefined) return true;
    try {
      this.#out = filter.wrapSink(this.#call, this.#out);
      return true;
    } catch (thrown) {
      const verdict = failed(this.#chain, filter, "wrapSink", thrown);
      if (verdict === "continue") return true;
      this.#out.onError(verdict);
      return false;
    }
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#ended) return;
    this.#status = head.status;
    for (let at = this.#began - 1; at >= 0; at--) {
      const filter = this.#chain.filters[at]!;
      if (filter.onResponse === undefined) continue;
      try {
        filter.onResponse(this.#call, head);
      } catch (thrown) {
        const verdict = failed(this.#chain, filter, "onResponse", thrown);
        if (verdict === "continue") continue;
        this.#status = 0;
        // Nobody reads the answer any more; the upstream must not go on sending it.
        this.#call.abort(verdict);
        return this.onError(this.#call.aborted ?? verdict);
      }
    }
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    if (!this.#ended) this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#finish(undefined, trailers)) this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    if (this.#finish(error, undefined)) this.#sink.onError(error);
  }

  /** Tells every filter that began, the innermost first; true the first time. */
  #finish(error: MeshError | undefined, trailers: HeaderList | undefined): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    const outcome = { status: this.#status, error, trailers };
    for (let at = this.#began - 1; at >= 0; at--) {
      const filter = this.#chain.filters[at]!;
      try {
        filter.onEnd?.(this.#call, outcome);
      } catch (thrown) {
        this.#chain.env.log.error("a filter failed at the end of a call", { filter: filter.name, error: thrown });
      }
    }
    return true;
  }
}
