import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { type Abortable, type Attempt, type Flow, HeaderList, MeshError, type Sink } from "@trama/engine";

import type { BodyWriter } from "./stream-body.ts";
import { StreamBody } from "./stream-body.ts";
import type { H2Connection } from "./h2-connection.ts";
import type { H2Pool, Streamed } from "./h2-pool.ts";
import { resetOf } from "./h2-reset.ts";
import { HttpBody } from "./body.ts";
import { pump, type SendableBody, sendable } from "./h2-body.ts";
import { grpcHead, httpHead, tooLarge } from "./h2-head.ts";

/** undici's `headersTimeout` and `bodyTimeout`. */
const silenceMs = 300_000;

type State = "waiting" | "open" | "over";

/**
 * The request of a stream, until that has closed. Node lets go of a closed stream only some time later, and all that it refers to would outlive
 * the young collections with it: the call, its answer, and what the application waits with.
 */
const requestOf = Symbol("trama.request");
type Owned = ClientHttp2Stream & { [requestOf]?: H2Request | undefined };

/**
 * One attempt on a stream: the handler of its events, the writer of its body, and what the engine pauses and aborts. `over` means that the
 * sink has heard the last; the stream may live on until the peer knows too.
 */
export class H2Request implements BodyWriter, Flow, Abortable, Streamed {
  readonly #attempt: Attempt;
  readonly #sink: Sink;
  readonly #pool: H2Pool;
  #state: State = "waiting";
  #stream: ClientHttp2Stream | undefined = undefined;
  #connection: H2Connection | undefined = undefined;
  #headed = false;
  #trailers: HeaderList | undefined = undefined;
  /** The peer has said its last: by trailers, or by a head that is the whole answer. */
  #complete = false;
  #error: Error | undefined = undefined;
  /** Sent once more because the peer said that it had not looked at it (gRFC A6, transparent retry): once only. */
  #again = false;

  constructor(attempt: Attempt, sink: Sink, pool: H2Pool) {
    this.#attempt = attempt;
    this.#sink = sink;
    this.#pool = pool;
  }

  get over(): boolean {
    return this.#state === "over";
  }

  get keepAlive(): StreamBody["keepAlive"] {
    return this.#body?.keepAlive;
  }

  get #body(): StreamBody | undefined {
    const { body } = this.#attempt.call;
    return body instanceof StreamBody ? body : undefined;
  }

  /** Of a call over HTTP; one over gRPC has none. */
  get #httpBody(): HttpBody {
    return this.#attempt.call.body as HttpBody;
  }

  /** False when the connection could not take it after all; then it is still waiting. */
  begin(connection: H2Connection, session: ClientHttp2Session): boolean {
    const { call } = this.#attempt;
    const { body } = call;
    const http = body instanceof HttpBody ? sendable(body.wire) : undefined;
    const head = this.#head(http);
    const unfit = tooLarge(head, session.remoteSettings?.maxHeaderListSize);
    if (unfit !== undefined) {
      this.fail(new MeshError("BAD_REQUEST", `${this.#pool.options.endpoint.address}: ${unfit}`));
      return true;
    }
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(head as unknown as Parameters<ClientHttp2Session["request"]>[0], {
        endStream: http !== undefined && http.source === null,
        waitForTrailers: body instanceof HttpBody && body.trailers !== undefined,
      });
    } catch (thrown) {
      if (session.closed || session.destroyed) return false;
      this.fail(new MeshError("BAD_REQUEST", (thrown as Error).message, { cause: thrown }));
      return true;
    }
    this.#state = "open";
    this.#stream = stream;
    this.#connection = connection;
    this.#attempt.sent = true;
    this.#attempt.peer = connection.peer;
    call.record.reached = true;
    call.record.mtls = connection.peer.mtls;
    call.record.peerPrincipal = connection.peer.spiffeId;
    connection.streams++;
    (stream as Owned)[requestOf] = this;
    stream.on("response", H2Request.#response);
    stream.on("trailers", H2Request.#trailed);
    stream.on("end", H2Request.#ended);
    stream.on("error", H2Request.#failed);
    stream.on("close", H2Request.#closed);
    if (body instanceof HttpBody) this.#sendHttp(stream, body, http!);
    else this.#body?.attach(this);
    return true;
  }

  // Listeners of all streams: a closure for each would be garbage, and keep its request as long as the stream.

  static readonly #response = listener((request, headers: IncomingHttpHeaders, flags: number, raw?: string[]) =>
    request.#onResponse(headers, flags, raw),
  );

  static readonly #trailed = listener((request, fields: IncomingHttpHeaders, _flags: number, raw?: string[]) => {
    request.#complete = true;
    request.#trailers = raw === undefined ? HeaderList.ofRecord(withoutPseudo(fields)) : HeaderList.ofFlat(raw);
  });

  static readonly #data = listener((request, chunk: Buffer) => {
    if (request.#state === "open") request.#sink.onData(chunk);
  });

  static readonly #ended = listener((request) => request.#onEnd());
  static readonly #failed = listener((request, error: Error) => (request.#error = error));
  static readonly #closed = listener((request) => request.#onClose());
  static readonly #silent = listener((request) => request.#onSilence());

  static readonly #informed = listener((request, fields: IncomingHttpHeaders) => {
    if (request.#state === "open") request.#httpBody.informed(Number(fields[":status"]), withoutPseudo(fields));
  });

  static readonly #wantsTrailers = listener((request) => {
    const body = request.#httpBody;
    try {
      request.#stream!.sendTrailers({ ...body.trailers!() } as OutgoingHttpHeaders);
    } catch (thrown) {
      body.failed(thrown as Error);
    }
  });

  #sendHttp(stream: ClientHttp2Stream, body: HttpBody, { source }: SendableBody): void {
    stream.on("headers", H2Request.#informed);
    if (body.trailers !== undefined) stream.on("wantTrailers", H2Request.#wantsTrailers);
    stream.on("timeout", H2Request.#silent);
    this.#patience(body.headersTimeout);
    body.begin();
    if (source instanceof Uint8Array) stream.end(source);
    else if (source !== null)
      void pump(
        source,
        this,
        () => this.#state !== "open",
        (error) => body.failed(error),
      );
  }

  /** undici's time-outs of a request: how long nothing may come or go. */
  #patience(ms: number | null | undefined): void {
    this.#stream!.setTimeout(ms ?? silenceMs);
  }

  #onSilence(): void {
    const stream = this.#stream!;
    if (this.#state !== "open") return;
    const body = this.#httpBody;
    const ms = (this.#headed ? body.bodyTimeout : body.headersTimeout) ?? silenceMs;
    // It is our own reader that has stopped.
    if (stream.isPaused()) {
      stream.setTimeout(ms);
      return;
    }
    stream.close(constants.NGHTTP2_CANCEL);
    const what = this.#headed ? "nothing more of the answer" : "no answer";
    this.fail(
      new MeshError("TIMEOUT", `${this.#pool.options.endpoint.address}: ${what} within ${ms} ms`, { sent: true }),
    );
  }

  write(chunk: Buffer, done?: () => void): void {
    const stream = this.#stream!;
    if (stream.destroyed || stream.writableEnded) done?.();
    else stream.write(chunk, done);
  }

  end(): void {
    const stream = this.#stream!;
    if (!stream.destroyed && !stream.writableEnded) stream.end();
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  /** Whoever still waits for a connection is told why there is none. */
  fail(error: MeshError): void {
    if (this.#state === "over") return;
    this.#settle();
    this.#sink.onError(error);
  }

  abort(reason: MeshError): void {
    if (this.#state === "over") return;
    if (this.#stream === undefined) this.#pool.forget(this);
    this.#settle();
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#sink.onError(reason);
  }

  #head(http: SendableBody | undefined): string[] {
    const { call } = this.#attempt;
    const { options } = this.#pool;
    if (http !== undefined) return httpHead(this.#attempt, options, this.#httpBody.authority !== call.authority, http);
    const body = this.#body;
    const authority = body !== undefined && body.authority === call.authority ? body.wireAuthority : call.authority;
    return grpcHead(this.#attempt, options, authority);
  }

  #onResponse(headers: IncomingHttpHeaders, flags: number, raw: string[] | undefined): void {
    if (this.#state !== "open" || this.#headed) return;
    this.#headed = true;
    this.#complete = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const status = Number(headers[":status"] ?? 0);
    const { body } = this.#attempt.call;
    if (body instanceof HttpBody) this.#patience(body.bodyTimeout);
    // The one pseudo field of an answer comes first (RFC 9113 §8.3).
    const list = raw?.[0] === ":status" ? HeaderList.ofFlat(raw.slice(2)) : HeaderList.ofRecord(withoutPseudo(headers));
    // Not earlier: Node tells of a head in a later tick than of the data that came with it, and a head is first (law 2).
    this.#stream!.on("data", H2Request.#data);
    this.#sink.onHead({ status, headers: list }, this);
  }

  /**
   * Everything that came has been read. Node ends the readable side of a reset stream too: an answer without a last word is judged when
   * the stream has closed, and it is known how.
   */
  #onEnd(): void {
    const stream = this.#stream!;
    // Nobody will read the rest of a request whose answer is there.
    if (!stream.writableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
    if (this.#state === "open" && this.#complete) this.#finish();
  }

  #finish(): void {
    this.#settle();
    this.#sink.onEnd(this.#trailers);
  }

  #onClose(): void {
    const stream: Owned = this.#stream!;
    stream[requestOf] = undefined;
    const connection = this.#connection!;
    if (this.#state === "open") {
      const code = stream.rstCode ?? constants.NGHTTP2_NO_ERROR;
      const refused = code === constants.NGHTTP2_REFUSED_STREAM && !this.#headed;
      const { body } = this.#attempt.call;
      if (refused && !this.#again && body.canReplay()) {
        this.#again = true;
        this.#state = "waiting";
        this.#body?.detach(this);
        this.#stream = this.#connection = undefined;
        this.#error = undefined;
        connection.ended();
        return this.#pool.submit(this);
      }
      if (this.#headed && (this.#complete || code === constants.NGHTTP2_NO_ERROR) && !connection.lost) this.#finish();
      else this.fail(resetOf(code, connection, stream.id !== undefined, this.#error));
    }
    connection.ended();
  }

  #settle(): void {
    this.#state = "over";
    this.#body?.detach(this);
  }
}

/** One for all streams: it finds the request of the stream whose event it is, if that still has one. */
function listener<A, B, C>(
  run: (request: H2Request, first: A, second: B, third: C) => void,
): (first: A, second: B, third: C) => void {
  return function (this: Owned, first, second, third) {
    const request = this[requestOf];
    if (request !== undefined) run(request, first, second, third);
  };
}

function withoutPseudo(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const rest: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (const name in headers) if (name !== ":status") rest[name] = headers[name]!;
  return rest;
}
