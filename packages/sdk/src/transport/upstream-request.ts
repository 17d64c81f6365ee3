import {
  type Abortable,
  type Attempt,
  type Flow,
  HeaderList,
  type HeaderRecord,
  MeshError,
  noFlow,
  type ResponseHead,
  type Sink,
} from "@trama/engine";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

import { type BodyValue, HttpBody } from "./body.ts";
import { putHopFields } from "./hop-fields.ts";
import type { Connection, Pool, Pooled } from "./pool.ts";
import { fromUndici } from "./undici-errors.ts";

/** Says who is calling, for metrics at the receiver (docs/wire.md); only ever sent over mTLS. */
export const peerHeader = "x-trama-peer";

/** The head of an answer, with the form in which undici had it, for adapters that hand it on to undici's own handlers. */
export class UpstreamHead implements ResponseHead {
  readonly status: number;
  readonly statusText: string | undefined;
  readonly raw: Dispatcher.DispatchController["rawHeaders"];
  readonly #parsed: Record<string, string | string[]>;
  /** Made when somebody asks, which few do. */
  #headers: HeaderList | undefined = undefined;

  constructor(
    status: number,
    statusText: string | undefined,
    parsed: Record<string, string | string[]>,
    raw: UpstreamHead["raw"],
  ) {
    this.status = status;
    this.statusText = statusText;
    this.raw = raw;
    this.#parsed = parsed;
  }

  get headers(): HeaderList {
    return (this.#headers ??= HeaderList.ofRecord(this.#parsed));
  }

  /** The fields as undici would hand them on: what it parsed itself as long as nobody changed anything. */
  get record(): HeaderRecord {
    return this.#headers === undefined ? this.#parsed : this.#headers.record();
  }

  /** Whether `raw` still says the same as `headers`. */
  get untouched(): boolean {
    return this.record === this.#parsed;
  }
}

/**
 * One attempt on the wire, and the only object it costs: undici reads it as the options of the request and calls it as the handler;
 * the engine pauses it as the Flow of the answer and aborts it.
 *
 * It is waiting (in the pool, or for its connection), then started (bytes may be out), then over. `over` means that the sink has heard the
 * last; undici may have to be told still, and the connection goes back only when undici has spoken its last.
 */
export class UpstreamRequest implements Dispatcher.DispatchHandler, Flow, Abortable, Pooled {
  over = false;
  readonly #attempt: Attempt;
  readonly #sink: Sink;
  readonly #pool: Pool;
  #connection: Connection | undefined = undefined;
  #controller: Dispatcher.DispatchController | undefined = undefined;
  /** The socket of a switched connection. */
  #switched: Duplex | undefined = undefined;

  constructor(attempt: Attempt, sink: Sink, pool: Pool) {
    this.#attempt = attempt;
    this.#sink = sink;
    this.#pool = pool;
  }

  // What undici reads of a request's options, once each.

  get method(): string {
    return this.#attempt.call.method;
  }

  get path(): string {
    return this.#attempt.call.path;
  }

  /** Undici copies them while it is told. */
  get headers(): readonly string[] {
    const attempt = this.#attempt;
    const { authority, headers } = attempt.call;
    const { peer, clock } = this.#pool.options;
    const body = this.#body;
    let at = putFields(headers.flat(), body === undefined || body.authority !== authority ? authority : undefined);
    const connection = this.#connection!;
    if ((connection.introducing = peer !== "" && !connection.introduced)) {
      wire[at++] = peerHeader;
      wire[at++] = peer;
    }
    at = putHopFields(wire, at, attempt, clock);
    if (wire.length !== at) wire.length = at;
    return wire;
  }

  /** Ours to set when connecting (`connect.ts`). Without one here undici parses the Host field of every request to find it. */
  get servername(): string {
    return "endpoint.invalid";
  }

  get body(): BodyValue {
    return this.#body?.wire ?? null;
  }

  get headersTimeout(): number | null | undefined {
    return this.#body?.headersTimeout;
  }

  get bodyTimeout(): number | null | undefined {
    return this.#body?.bodyTimeout;
  }

  get upgrade(): string | null {
    return this.#body?.upgrade ?? null;
  }

  get #body(): HttpBody | undefined {
    const { body } = this.#attempt.call;
    return body instanceof HttpBody ? body : undefined;
  }

  begin(connection: Connection): boolean {
    if (this.over) return false;
    this.#connection = connection;
    // What undici refuses at once, such as a malformed header, comes back through onResponseError.
    connection.client.dispatch(this as unknown as Dispatcher.DispatchOptions, this);
    return true;
  }

  fail(error: MeshError): void {
    if (this.over) return;
    this.over = true;
    this.#sink.onError(error);
  }

  abort(reason: MeshError): void {
    if (this.over) return;
    this.over = true;
    if (this.#switched !== undefined) this.#switched.destroy();
    // HTTP/1.1 has no other way to stop it than to end the connection.
    else if (this.#controller !== undefined) this.#controller.abort(reason);
    else if (this.#connection === undefined) this.#pool.forget(this);
    this.#sink.onError(reason);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    if (!this.over) this.#controller?.resume();
  }

  /** A connection is there, and the request is written as soon as this returns. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.over) {
      controller.abort(new MeshError("ABORTED", "aborted before it was sent"));
      return;
    }
    const { peer } = this.#connection!;
    if (peer.notAfterMs <= this.#pool.options.clock.wall()) {
      this.#connection!.retireAtMs = 0;
      controller.abort(
        new MeshError(
          "TLS_FAILED",
          `${this.#pool.options.endpoint.address}: the server's certificate has expired since the connection was made`,
        ),
      );
      return;
    }
    this.#controller = controller;
    this.#attempt.sent = true;
    this.#attempt.peer = peer;
    this.#connection!.requests++;
    if (this.#connection!.introducing) this.#connection!.introduced = true;
    const { call } = this.#attempt;
    this.#body?.begin();
    call.record.mtls = peer.mtls;
    call.record.peerPrincipal = peer.spiffeId;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[]>,
    statusText?: string,
  ): void {
    if (this.over) return;
    // 1xx are not heads (law 2).
    if (status < 200) return this.#body?.informed(status, headers);
    this.#sink.onHead(new UpstreamHead(status, statusText, headers, controller.rawHeaders), this);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.over) this.#sink.onData(chunk);
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: Record<string, string | string[]>): void {
    this.#release();
    if (this.over) return;
    this.over = true;
    this.#sink.onEnd(hasAny(trailers) ? HeaderList.ofRecord(trailers) : undefined);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#release(this.#controller === undefined);
    this.fail(fromUndici(error, this.#pool.options.endpoint.address, this.#attempt.sent));
  }

  /**
   * Exactly one of the three ends comes from undici. The socket leaves with the caller; connection and call count until it closes
   * (dataplane.md §3.2).
   */
  onRequestUpgrade(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[]>,
    socket: Duplex,
  ): void {
    const body = this.#body;
    if (this.over || body === undefined) {
      this.#release();
      socket.destroy();
      return;
    }
    this.#switched = this.#connection!.switched = socket;
    socket.once("close", () => {
      this.#connection!.switched = undefined;
      this.#release();
      if (this.over) return;
      this.over = true;
      this.#sink.onEnd(undefined);
    });
    this.#sink.onHead(new UpstreamHead(status, undefined, headers, null), noFlow);
    body.switched(status, headers, socket);
  }

  #release(unmade = false): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    this.#pool.release(connection, unmade);
  }
}

/** One array for all requests: each is told to undici in one go, and an array of its own would be garbage a moment later. */
const wire: string[] = [];

/**
 * The call's own fields, and where they end: the adapter has put the application's `host` first, which goes out as long as no layer rewrote
 * the authority.
 */
function putFields(flat: readonly string[], authority: string | undefined): number {
  let at = 0;
  if (authority !== undefined) {
    wire[at++] = "host";
    wire[at++] = authority;
  }
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!;
    if (authority !== undefined && name.length === 4 && name.toLowerCase() === "host") continue;
    wire[at++] = name;
    wire[at++] = flat[i + 1]!;
  }
  return at;
}

function hasAny(record: object | null | undefined): boolean {
  for (const _ in record) return true;
  return false;
}
