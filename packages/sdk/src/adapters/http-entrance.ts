import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

import { http } from "../env/node-http.ts";
import { ReplayBody } from "../transport/replay-body.ts";
import { EntranceCall } from "./entrance-call.ts";
import { PipeSocket } from "./pipe-socket.ts";

/** The asynchronous context of the request that has this pipe. */
export const contexts: WeakMap<object, <R>(run: () => R) => R> = new WeakMap();

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
    origins.set(server, origin);
    this.#server.emit("connection", server);
    return client;
  }

  #enter(request: IncomingMessage, response: ServerResponse, upgrade?: Upgrade): void {
    const pipe = request.socket as unknown as PipeSocket;
    const run = contexts.get(pipe.other);
    if (run === undefined) this.#dispatch(request, response, pipe, upgrade);
    else run(() => this.#dispatch(request, response, pipe, upgrade));
  }

  #dispatch(request: IncomingMessage, response: ServerResponse, pipe: PipeSocket, upgrade: Upgrade | undefined): void {
    const { headers } = request;
    const length = headers["content-length"];
    const hasBody = headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
    const body = hasBody ? new ReplayBody(request) : undefined;
    if (body !== undefined) body.trailers = () => request.trailers;
    const call = new EntranceCall(response, pipe, upgrade?.head);
    this.#dispatcher.dispatch(
      {
        origin: origins.get(pipe)!,
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

const origins = new WeakMap<object, string>();

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
