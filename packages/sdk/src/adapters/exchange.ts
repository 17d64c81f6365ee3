import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import {
  type Abortable,
  answerFields,
  type Call,
  HeaderList,
  MeshError,
  noFlow,
  type RequestBody,
  type ResponseHead,
  type Service,
  type Sink,
} from "@trama/engine";

import { type CallContext, runInContext } from "../context.ts";
import { http } from "../env/node-http.ts";
import type { Connection } from "./connection.ts";

/** The way into the application: the server's own `emit`, before it was wrapped. */
export type EntryPoint = (event: string, ...values: unknown[]) => boolean;

/**
 * One request at a protected server: the body of its call, the outermost sink, and what an abort reaches. The application answers
 * Node's own response object as ever; the sink only writes what the mesh answers itself, a refusal or a fault.
 */
export abstract class Exchange implements RequestBody, Sink, Abortable {
  readonly connection: Connection;
  /** What calls made on behalf of this one inherit; absent when there is nothing. */
  context: CallContext | undefined = undefined;
  /** Where the application's answer is reported: filters and telemetry, outermost this exchange itself. */
  #report: Sink | undefined = undefined;
  #call: Call | undefined = undefined;
  /** The mesh has begun to answer itself. */
  #headed = false;
  #over = false;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.inFlight++;
    // One of many streams does not speak for its connection.
    if (connection.leave === undefined) connection.current = this;
  }

  /** Bodies of applications are streams from the network. */
  canReplay(): boolean {
    return false;
  }

  start(call: Call, service: Service): void {
    this.#call = call;
    service(call, this);
  }

  /** The innermost service of an inbound chain. */
  static readonly handler: Service = (call, sink) => {
    const exchange = call.body as Exchange;
    exchange.#report = sink;
    call.active = exchange;
    const fields = call.get(answerFields);
    if (fields !== undefined) exchange.addFields(fields);
    try {
      runInContext(exchange.context, enter, exchange);
    } catch (thrown) {
      // A Service never throws (law 1), and what an application's listener throws is not the mesh's to swallow: it becomes what it is
      // without a mesh, an uncaught exception. The request stays the application's own.
      process.nextTick(rethrow, thrown);
    }
  };

  /** The application has answered, wholly or until its peer left. */
  protected finished(status: number, complete: boolean): void {
    if (this.#over) return;
    const report = this.#report;
    if (report === undefined) {
      // The peer left while a filter was still waiting, or has read what the mesh answered.
      if (!complete) this.#call?.abort(new MeshError("ABORTED", "the peer closed the connection"));
      this.end();
      return;
    }
    if (complete && this.context !== undefined) this.context.answered = true;
    if (status > 0) report.onHead(new AnsweredHead(status), noFlow);
    this.end();
    if (complete) report.onEnd(undefined);
    else report.onError(new MeshError("ABORTED", "the peer closed the connection", { sent: true }));
  }

  /** Gives the connection free, once. */
  protected end(): void {
    if (this.#over) return;
    this.#over = true;
    const { connection } = this;
    connection.inFlight--;
    if (connection.current === this) connection.current = undefined;
    if (this.#call?.active === this) this.#call.active = undefined;
    if (connection.inFlight > 0) return;
    if (connection.idle !== undefined) connection.idle();
    else if (connection.closing) connection.socket.destroySoon();
  }

  abort(reason: MeshError): void {
    if (this.#over) return;
    this.end();
    this.cut();
    this.#report?.onError(reason);
  }

  onHead(head: ResponseHead): void {
    if (this.#report !== undefined) return;
    this.#headed = true;
    this.head(head.status, head.headers.flat());
  }

  onData(chunk: Uint8Array): void {
    if (this.#report === undefined) this.data(chunk);
  }

  onEnd(): void {
    if (this.#report === undefined) this.finish();
  }

  /** Of the application's own answer the application knows; before it there is somebody to be told. */
  onError(error: MeshError): void {
    if (this.#report !== undefined || this.#over) return;
    if (error.status === 0 || this.#headed) {
      this.cut();
      return;
    }
    this.refuse(error.status, error.code.toLowerCase().replaceAll("_", " "));
  }

  /** A plain answer of the mesh's own. */
  refuse(status: number, text: string): void {
    const body = Buffer.from(`${text}\n`);
    this.head(status, ["content-type", "text/plain", "content-length", String(body.length)]);
    this.data(body);
    this.finish();
  }

  /** What policy adds to the application's own answer; where the application says the same, it has the last word. */
  protected abstract addFields(fields: readonly string[]): void;

  /** This answer tells the peer to send nothing more on this connection. */
  abstract announceClose(): void;
  abstract enter(): void;
  /** Ends it without an answer, and nothing else of its connection where that carries more. */
  protected abstract cut(): void;
  protected abstract head(status: number, fields: readonly string[]): void;
  protected abstract data(chunk: Uint8Array): void;
  protected abstract finish(): void;
}

/** What filters and telemetry see of the application's own answer. Its fields are on their way already: nobody can change them any more. */
class AnsweredHead implements ResponseHead {
  readonly status: number;
  #headers: HeaderList | undefined = undefined;

  constructor(status: number) {
    this.status = status;
  }

  get headers(): HeaderList {
    return (this.#headers ??= HeaderList.empty());
  }
}

function enter(exchange: Exchange): void {
  exchange.enter();
}

function rethrow(thrown: unknown): void {
  throw thrown;
}

/** One of HTTP/1.1: it has a parsed request, and its socket to itself. */
export abstract class RequestExchange extends Exchange {
  readonly request: IncomingMessage;
  protected readonly entry: EntryPoint;
  protected readonly event: string;

  constructor(entry: EntryPoint, event: string, request: IncomingMessage, connection: Connection) {
    super(connection);
    this.entry = entry;
    this.event = event;
    this.request = request;
  }

  protected cut(): void {
    this.request.socket.destroy();
  }
}

const exchangeOf = Symbol("trama.exchange");
type Watched = ServerResponse & { [exchangeOf]?: ResponseExchange };

/** `request`, `checkContinue` and `checkExpectation`: there is a response object. */
export class ResponseExchange extends RequestExchange {
  readonly response: ServerResponse;

  constructor(
    entry: EntryPoint,
    event: string,
    request: IncomingMessage,
    response: ServerResponse,
    connection: Connection,
  ) {
    super(entry, event, request, connection);
    this.response = response;
    // One listener, shared by all responses: a closure for each would be garbage.
    (response as Watched)[exchangeOf] = this;
    response.on("close", closed);
  }

  announceClose(): void {
    if (!this.response.headersSent) this.response.setHeader("connection", "close");
  }

  enter(): void {
    this.entry(this.event, this.request, this.response);
  }

  closed(): void {
    const { response } = this;
    this.finished(response.headersSent ? response.statusCode : 0, response.writableFinished);
  }

  protected addFields(fields: readonly string[]): void {
    for (let i = 0; i < fields.length; i += 2) this.response.setHeader(fields[i]!, fields[i + 1]!);
  }

  protected head(status: number, fields: readonly string[]): void {
    this.response.writeHead(status, [...fields]);
  }

  protected data(chunk: Uint8Array): void {
    this.response.write(chunk);
  }

  protected finish(): void {
    this.response.end();
  }
}

function closed(this: ServerResponse): void {
  (this as Watched)[exchangeOf]!.closed();
}

/** `upgrade` and `connect`: there is only the socket, which is the application's for as long as it lives. */
export class SocketExchange extends RequestExchange {
  readonly socket: Socket;
  readonly #head: Buffer;

  constructor(
    entry: EntryPoint,
    event: string,
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    connection: Connection,
  ) {
    super(entry, event, request, connection);
    this.socket = socket;
    this.#head = head;
    socket.on("close", () => this.finished(101, true));
  }

  /** It ends with its connection in any case. */
  announceClose(): void {}

  enter(): void {
    this.entry(this.event, this.request, this.socket, this.#head);
  }

  /** A switch of protocols is an answer that no browser's script reads. */
  protected addFields(): void {}

  protected head(status: number, fields: readonly string[]): void {
    let head = `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ""}\r\nconnection: close\r\n`;
    for (let i = 0; i < fields.length; i += 2) head += `${fields[i]!}: ${fields[i + 1]!}\r\n`;
    this.socket.write(`${head}\r\n`, "latin1");
  }

  protected data(chunk: Uint8Array): void {
    this.socket.write(chunk);
  }

  protected finish(): void {
    this.socket.destroySoon();
  }
}
