import { HeaderList, MeshError } from "@trama/engine";
import type { Abortable, Attempt, Flow, MeshErrorCode, Service, Sink, Transport } from "@trama/engine";

/** One request at the other end, answered event by event as the test says. Law-abiding unless the test is not. */
export class Exchange implements Abortable {
  readonly sink: Sink;
  readonly attempt: Attempt | undefined;
  /** Why it was stopped from above; `undefined` as long as it was not. */
  abortedWith: MeshError | undefined = undefined;
  /** Whether its last event was sent. */
  over = false;
  paused = false;
  headed = false;
  readonly #flow: Flow = { pause: () => void (this.paused = true), resume: () => void (this.paused = false) };

  constructor(sink: Sink, attempt: Attempt | undefined) {
    this.sink = sink;
    this.attempt = attempt;
  }

  head(status = 200, headers: Readonly<Record<string, string>> = {}): this {
    this.#sent();
    this.headed = true;
    if (!this.over) this.sink.onHead({ status, headers: HeaderList.ofRecord(headers) }, this.#flow);
    return this;
  }

  data(text = "data"): this {
    if (!this.over) this.sink.onData(Buffer.from(text));
    return this;
  }

  end(trailers?: Readonly<Record<string, string>>): this {
    if (this.over) return this;
    this.over = true;
    this.sink.onEnd(trailers === undefined ? undefined : HeaderList.ofRecord(trailers));
    return this;
  }

  /** Head, an optional body, end. */
  answer(status = 200, body?: string, headers?: Readonly<Record<string, string>>): this {
    this.head(status, headers);
    if (body !== undefined) this.data(body);
    return this.end();
  }

  fail(code: MeshErrorCode, sent = true): this {
    if (sent) this.#sent();
    return this.failWith(new MeshError(code, `scripted ${code}`, { sent }));
  }

  failWith(error: MeshError): this {
    if (this.over) return this;
    this.over = true;
    this.sink.onError(error);
    return this;
  }

  abort(reason: MeshError): void {
    if (this.abortedWith !== undefined) return;
    this.abortedWith = reason;
    this.failWith(reason);
  }

  #sent(): void {
    if (this.attempt !== undefined) this.attempt.sent = true;
  }
}

/** What the peer does with a new request; without one it waits for the test. */
export type Answer = (exchange: Exchange) => void;

/**
 * The other end of calls, as a Transport and as a Service. Requests are answered by `script`, one entry each, in order;
 * past its end by what {@link MockPeer.allow} permits, and then they wait in `exchanges` for the test to answer them.
 */
export class MockPeer implements Transport {
  readonly exchanges: Exchange[] = [];
  readonly #script: Answer[];
  #allowed = 0;
  #taken = 0;

  constructor(...script: Answer[]) {
    this.#script = script;
  }

  /** Answers the next `n` requests beyond the script with 200 at once. */
  allow(n: number): this {
    this.#allowed += n;
    return this;
  }

  /** The oldest request that was not handed out yet. */
  next(): Exchange {
    const exchange = this.exchanges[this.#taken++];
    if (exchange === undefined) throw new Error(`no request number ${this.#taken} came`);
    return exchange;
  }

  /** Addresses of the endpoints in the order in which they were tried. */
  get tried(): string[] {
    return this.exchanges.map(({ attempt }) => attempt?.endpoint.address ?? "");
  }

  send(attempt: Attempt, sink: Sink): void {
    const exchange = this.#open(sink, attempt);
    attempt.bind(exchange);
    this.#reply(exchange);
  }

  /** The same peer as an inner service, for layers that stand above attempts. */
  readonly service: Service = (call, sink) => {
    const exchange = this.#open(sink, undefined);
    call.active = exchange;
    this.#reply(exchange);
  };

  #open(sink: Sink, attempt: Attempt | undefined): Exchange {
    const exchange = new Exchange(sink, attempt);
    this.exchanges.push(exchange);
    return exchange;
  }

  #reply(exchange: Exchange): void {
    const answer = this.#script.shift();
    if (answer !== undefined) answer(exchange);
    else if (this.#allowed > 0) {
      this.#allowed--;
      exchange.answer(200);
    }
  }
}

/** Script entries. */
export const answers =
  (status: number, body?: string, headers?: Readonly<Record<string, string>>): Answer =>
  (exchange) =>
    void exchange.answer(status, body, headers);
export const fails =
  (code: MeshErrorCode, sent = true): Answer =>
  (exchange) =>
    void exchange.fail(code, sent);
export const waits: Answer = () => {};
