import { AsyncLocalStorage } from "node:async_hooks";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

import { type CallContext, runInContext } from "../context.ts";
import { http } from "../env/node-http.ts";
import { ReplayBody } from "../transport/replay-body.ts";
import { DirectCall } from "./direct-call.ts";
import { EntranceCall } from "./entrance-call.ts";
import { wholeRequest, type Written } from "./entrance-head.ts";
import { type PipeIntake, PipeSocket } from "./pipe-socket.ts";

/** The call that was being served where a request was made; absent on those that were made outside of one. */
export const madeIn: unique symbol = Symbol("trama.madeIn");

/** Fields between a client and its next hop: the framing on the way is ours (RFC 9110 §7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Where requests of `node:http` enter the mesh. Each of their connections is a pipe; at its other end stands an HTTP server that never
 * listens, reads what Node's own client writes, and makes a call of each request. So everything that applications know of Node's client
 * holds as it is: events, time-outs, Expect, 1xx, upgrades, trailers, HEAD, abort.
 *
 * What the client writes in one piece, as nearly every request without a body and many with one, needs no parser and no second stream: it
 * becomes a call as it is written ({@link Intake}), and its answer is handed to the client's own parser.
 */
export class HttpEntrance {
  readonly #server: Server;
  readonly #dispatcher: Dispatcher;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
    const server = http.createServer({
      // Time belongs to the caller and to policy, and what the application itself sends is no attack.
      requestTimeout: 0,
      headersTimeout: 0,
      keepAliveTimeout: 0,
      maxHeaderSize: 1024 * 1024,
      requireHostHeader: false,
    });
    server.on("request", (request: IncomingMessage, response: ServerResponse) => this.#enter(request, response));
    // As Envoy does where it is not told otherwise (`proxy_100_continue`): the body is asked for, and the field goes no further.
    server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      response.writeContinue();
      this.#enter(request, response);
    });
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const response = new http.ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket as never);
      response.on("finish", () => socket.end());
      this.#enter(request, response, { protocol: request.headers.upgrade!, head });
    });
    server.on("connect", (_request: IncomingMessage, socket: Duplex) =>
      socket.end("HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    );
    server.on("clientError", (error: Error, socket: Duplex) => {
      (socket as PipeSocket).other.destroy(error);
      socket.destroy();
    });
    this.#server = server;
  }

  /** A connection to this origin, as its client sees it. */
  connect(origin: string, secured: boolean): PipeSocket {
    const [client, server] = PipeSocket.pair({}, {});
    // What libraries ask of a TLS socket. Whose certificate the server has is the mesh's business.
    if (secured) Object.assign(client, { encrypted: true, authorized: true, getPeerCertificate: () => ({}) });
    const intake = new Intake(client, origin, this.#dispatcher, () => this.#server.emit("connection", server));
    client.intake = intake;
    intakes.set(server, intake);
    return client;
  }

  #enter(request: IncomingMessage, response: ServerResponse, upgrade?: Upgrade): void {
    const pipe = request.socket as unknown as PipeSocket;
    const intake = intakes.get(pipe)!;
    const { message } = intake;
    if (upgrade === undefined && message !== undefined)
      // Not before it was read: what was still to come of it must not be taken for a head.
      response.on("close", () => {
        if (request.complete) intake.parserIsDone(message);
      });
    intake.parsed(() => this.#dispatch(request, response, pipe, intake.origin, upgrade));
  }

  #dispatch(
    request: IncomingMessage,
    response: ServerResponse,
    pipe: PipeSocket,
    origin: string,
    upgrade: Upgrade | undefined,
  ): void {
    const { headers } = request;
    const length = headers["content-length"];
    const hasBody = headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
    const body = hasBody ? new ReplayBody(request) : undefined;
    if (body !== undefined) body.trailers = () => request.trailers;
    const call = new EntranceCall(response, pipe, upgrade?.head);
    this.#dispatcher.dispatch(
      {
        origin,
        method: request.method as Dispatcher.HttpMethod,
        path: request.url!,
        headers: endToEnd(request.rawHeaders),
        body: (body ?? null) as never,
        upgrade: upgrade?.protocol ?? null,
      },
      call,
    );
  }
}

interface Upgrade {
  readonly protocol: string;
  /** What the client sent behind its request. */
  readonly head: Buffer;
}

/** A request of Node's client. */
interface Message {
  readonly [madeIn]?: CallContext;
}

/** By the server's end. */
const intakes = new WeakMap<object, Intake>();

/**
 * What stands behind the client's end of one connection. One request at a time, as Node's client has it: each that comes in one piece becomes a
 * call at once; any other goes to the parser with all that follows it, until its answer is through.
 */
class Intake implements PipeIntake {
  readonly origin: string;
  readonly #client: PipeSocket;
  readonly #dispatcher: Dispatcher;
  readonly #attach: () => void;
  #call: DirectCall | undefined = undefined;
  #attached = false;
  #parsing = false;
  /** The newest request of which the parser was given anything. */
  #parsed: Message | undefined = undefined;
  /** Runs what the parser makes of a request where that request was written. */
  #run: (<R>(run: () => R) => R) | undefined = undefined;

  /** `attach` puts the parser to the other end. */
  constructor(client: PipeSocket, origin: string, dispatcher: Dispatcher, attach: () => void) {
    this.#client = client;
    this.origin = origin;
    this.#dispatcher = dispatcher;
    this.#attach = attach;
  }

  take(first: string | Buffer, encoding: BufferEncoding, more: readonly Written[]): boolean {
    if (this.#parsing) {
      this.#parsed = this.message;
      return false;
    }
    if (this.#call?.over === false) {
      // Nothing of Node's writes on before it has its answer. What that would mean nobody knows.
      this.#client.destroy(new Error("a request was written into another one"));
      return true;
    }
    const request = wholeRequest(first, encoding, more);
    if (request === undefined) {
      this.#parsing = true;
      this.#parsed = this.message;
      this.#run = AsyncLocalStorage.snapshot();
      if (!this.#attached) this.#attach();
      this.#attached = true;
      return false;
    }
    const { method, path, fields: headers, body } = request;
    const call = (this.#call = new DirectCall(this.#client, method));
    const options = { origin: this.origin, method: method as Dispatcher.HttpMethod, path, headers, body };
    runInContext(this.message?.[madeIn], dispatch, this.#dispatcher, options, call);
    return true;
  }

  /** The request that has this connection: Node notes it there. */
  get message(): Message | undefined {
    return (this.#client as { _httpMessage?: Message | null })._httpMessage ?? undefined;
  }

  wanted(): void {
    this.#call?.wanted();
  }

  gone(): void {
    this.#call?.gone();
    // A server's end would answer the client's last word by its own; where none is at work the connection just ends.
    if (!this.#parsing) this.#client.destroy();
  }

  parsed(dispatch: () => void): void {
    const run = this.#run ?? ((now) => now());
    run(() => runInContext(this.message?.[madeIn], dispatch));
  }

  /** This request was read and answered. The parser may have been given another one since, for the client sees the end of an answer first. */
  parserIsDone(message: Message): void {
    if (this.#parsed !== message) return;
    this.#parsing = false;
    this.#run = undefined;
  }
}

function dispatch(dispatcher: Dispatcher, options: Dispatcher.DispatchOptions, call: DirectCall): void {
  dispatcher.dispatch(options, call);
}

function endToEnd(raw: readonly string[]): string[] {
  const kept: string[] = [];
  let named: ReadonlySet<string> | undefined;
  for (let i = 0; i < raw.length; i += 2)
    if (raw[i]!.length === 10 && raw[i]!.toLowerCase() === "connection" && raw[i + 1]!.length > 10)
      named = new Set(raw[i + 1]!.toLowerCase().split(/\s*,\s*/));
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!hopByHop.has(name) && named?.has(name) !== true) kept.push(raw[i]!, raw[i + 1]!);
  }
  return kept;
}
