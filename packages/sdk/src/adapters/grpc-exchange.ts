import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import {
  type Abortable,
  type Call,
  grpcStatusOfError,
  HeaderList,
  MeshError,
  noFlow,
  type RequestBody,
  type ResponseHead,
  type Service,
  type Sink,
} from "@trama/engine";

import type { CallContext } from "../context.ts";
import type { Connection } from "./connection.ts";
import { own, type StreamOwner } from "./stream-owner.ts";

/** Hands a stream to grpc-js. */
export type EnterGrpc = (exchange: GrpcExchange) => void;

/**
 * One stream at a protected gRPC server: the body of its call, the outermost sink, and what an abort reaches. The application answers
 * through grpc-js as ever; the sink only writes what the mesh answers itself, a refusal or a fault.
 */
export class GrpcExchange implements RequestBody, Sink, Abortable, StreamOwner {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
  readonly connection: Connection;
  /** What calls made on behalf of this one inherit; absent when there is nothing. */
  context: CallContext | undefined = undefined;
  readonly #enter: EnterGrpc;
  #call: Call | undefined = undefined;
  /** Where the application's answer is reported: filters and telemetry, outermost this exchange itself. */
  #report: Sink | undefined = undefined;
  #head: ResponseHead | undefined = undefined;
  #over = false;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    raw: readonly string[],
    connection: Connection,
    enter: EnterGrpc,
  ) {
    this.stream = stream;
    this.headers = headers;
    this.raw = raw;
    this.connection = connection;
    this.#enter = enter;
    connection.inFlight++;
    own(stream, this);
  }

  /** Messages of peers are streams from the network. */
  canReplay(): boolean {
    return false;
  }

  get call(): Call | undefined {
    return this.#call;
  }

  start(call: Call, service: Service): void {
    this.#call = call;
    service(call, this);
  }

  /** The innermost service of an inbound chain. */
  static readonly handler: Service = (call, sink) => {
    const exchange = call.body as GrpcExchange;
    exchange.#report = sink;
    call.active = exchange;
    exchange.#enter(exchange);
  };

  abort(reason: MeshError): void {
    if (this.#over) return;
    this.#end();
    this.stream.close(constants.NGHTTP2_CANCEL);
    this.#report?.onError(reason);
  }

  onHead(head: ResponseHead): void {
    if (this.#report === undefined) this.#head = head;
  }

  /** A gRPC answer of the mesh's own has no messages. */
  onData(): void {}

  onEnd(): void {
    if (this.#report !== undefined || this.stream.destroyed) return;
    const { status, headers } = this.#head!;
    this.#respond({ ":status": status, ...headers.record() } as OutgoingHttpHeaders);
  }

  /** Of the application's own answer the application knows; before it there is somebody to be told. */
  onError(error: MeshError): void {
    if (this.#report !== undefined || this.#over) return;
    if (error.code === "ABORTED") this.stream.close(constants.NGHTTP2_CANCEL);
    else this.refuse(grpcStatusOfError(error), error.code.toLowerCase().replaceAll("_", " "));
  }

  /** A trailers-only answer of the mesh's own. */
  refuse(code: number, details: string, more: OutgoingHttpHeaders = {}): void {
    this.#respond({
      ":status": 200,
      "content-type": "application/grpc",
      "grpc-status": String(code),
      "grpc-message": details,
      ...more,
    });
  }

  #respond(headers: OutgoingHttpHeaders): void {
    const { stream } = this;
    if (stream.destroyed || stream.headersSent) return;
    stream.respond(headers, { endStream: true });
    // What the peer still sends is not wanted; reading it to its end lets the stream close.
    stream.resume();
    if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
  }

  /** The stream is gone: its own record of what was sent says how it ended. */
  closed(): void {
    const { stream } = this;
    const report = this.#report;
    const over = this.#over;
    if (!over && report === undefined && this.#head === undefined && !stream.headersSent)
      this.#call?.abort(new MeshError("ABORTED", "the peer gave up"));
    this.#end();
    if (this.connection.inFlight === 0) this.connection.idle?.();
    if (over || report === undefined) return;
    const sent = stream.sentHeaders as OutgoingHttpHeaders | undefined;
    const trailers = stream.sentTrailers as OutgoingHttpHeaders | undefined;
    const trailersOnly = sent?.["grpc-status"] !== undefined;
    if (sent !== undefined) report.onHead({ status: Number(sent[":status"]), headers: fields(sent) }, noFlow);
    const complete = sent !== undefined && (trailersOnly || trailers !== undefined || Number(sent[":status"]) !== 200);
    if (complete && this.context !== undefined) this.context.answered = true;
    if (complete) report.onEnd(trailers === undefined ? undefined : fields(trailers));
    else report.onError(new MeshError("ABORTED", "the peer gave up", { sent: true }));
  }

  /** Gives the connection free, once. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.connection.inFlight--;
    if (this.#call?.active === this) this.#call.active = undefined;
  }
}

function fields(headers: OutgoingHttpHeaders): HeaderList {
  const flat: string[] = [];
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (value === undefined || name.startsWith(":")) continue;
    if (Array.isArray(value)) for (const one of value) flat.push(name, one);
    else flat.push(name, String(value));
  }
  return HeaderList.ofFlat(flat);
}
