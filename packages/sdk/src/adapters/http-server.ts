import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import type { Engine } from "@trama/engine";

import { http } from "../env/node-http.ts";
import { TramaError } from "../errors.ts";
import { type Connection, connections } from "./connection.ts";
import { type EntryPoint, type RequestExchange, ResponseExchange, SocketExchange } from "./exchange.ts";
import { speaksHttp2 } from "./grpc-preface.ts";
import { Http2Bridge } from "./http2-bridge.ts";
import { type ListenerOptions, MeshListener } from "./listener.ts";
import { serveRequest } from "./serve-request.ts";
import { stopListening } from "./stop-listening.ts";

/**
 * An `http.Server` that is part of the mesh. It stays the application's own server, on its own port, with its own listeners: what changes
 * is who reads the accepted sockets first ({@link MeshListener}) and what stands before each way into the application. Node has five
 * for HTTP/1: `request`, `checkContinue`, `checkExpectation`, `upgrade` and `connect`; authorization runs in all of them
 * (dataplane.md §20), which is why `emit` is wrapped rather than any one listener.
 */
export class ProtectedServer {
  readonly server: Server;
  readonly listener: MeshListener;
  readonly #engine: Engine;
  readonly #clock: ListenerOptions["clock"];
  readonly #entry: EntryPoint;
  readonly #http2: Http2Bridge;
  #draining = false;
  /** `listen()` was called, and has not failed. */
  listens = false;
  /** Another protocol on the same port: it takes the connection, or leaves it to HTTP/1. */
  neighbour: ((connection: Connection, leave: () => void) => void) | undefined = undefined;

  constructor(server: Server, options: ListenerOptions) {
    refuseUnfit(server);
    this.server = server;
    this.#engine = options.engine;
    this.#clock = options.clock;
    const emit: EntryPoint = server.emit.bind(server);
    this.#entry = emit;
    const [parse] = server.listeners("connection") as ((this: Server, socket: Socket) => void)[];
    server.removeListener("connection", parse!);
    this.listener = new MeshListener(server, options, (connection) => {
      const speak = (): void => parse!.call(server, connection.socket);
      if (this.neighbour === undefined) this.#byProtocol(connection, speak);
      else this.neighbour(connection, speak);
    });
    // Who offers both gets what the handler speaks by itself: HTTP/2 goes through a pipe, at three to four times the cost (ADR 0005).
    this.listener.protocols = ["http/1.1", "h2"];
    this.#http2 = new Http2Bridge(options.clock, (pipe) => parse!.call(server, pipe.socket));
    // Without a listener Node cuts the connection without a word.
    server.on("connect", () => {});
    const listen = server.listen.bind(server) as (...values: unknown[]) => Server;
    server.listen = ((...values: unknown[]): Server => {
      this.listens = true;
      return listen(...values);
    }) as Server["listen"];
    server.on("error", () => (this.listens = server.listening));
    server.on("close", () => (this.listens = false));
    server.emit = ((event: string, ...values: unknown[]): boolean => {
      switch (event) {
        case "request":
        case "checkContinue":
        case "checkExpectation":
          return this.#request(event, values[0] as IncomingMessage, values[1] as ServerResponse);
        case "upgrade":
        case "connect":
          return this.#upgrade(event, values[0] as IncomingMessage, values[1] as Socket, values[2] as Buffer);
        default:
          return emit(event, ...values);
      }
    }) as Server["emit"];
  }

  get requestsInFlight(): number {
    let count = 0;
    for (const { inFlight } of this.listener.connections) count += inFlight;
    return count;
  }

  /** From now on each answer tells its peer to come no more on this connection. Everything is still served. */
  drain(): void {
    this.#draining = true;
    for (const connection of this.listener.connections) connection.current?.announceClose();
  }

  /**
   * Accepts nothing more and serves on for `lingerMs`: on a connection that is open, a request may be under way that has not
   * arrived yet, and closing it then would lose that request. Then closes what is idle, and waits for the answers under way,
   * at most `deadlineMs`; what is left then is cut.
   */
  async stop(deadlineMs: number, lingerMs: number): Promise<void> {
    this.drain();
    const { server } = this;
    await stopListening(server, this.listener, this.#clock, { deadlineMs, lingerMs }, () =>
      server.closeAllConnections(),
    );
    // What is left of the HTTP server's own close: the timer by which it watches connections.
    server.close(() => {});
  }

  /** What was agreed by ALPN, or what the first bytes say where nothing was. */
  #byProtocol(connection: Connection, http1: () => void): void {
    const { alpnProtocol } = connection.socket as { alpnProtocol?: string | false | null };
    if (alpnProtocol === "h2") this.#http2.admit(connection);
    else if (alpnProtocol === "http/1.1") http1();
    else speaksHttp2(connection.socket, this.#clock, (http2) => (http2 ? this.#http2.admit(connection) : http1()));
  }

  #request(event: string, request: IncomingMessage, response: ServerResponse): boolean {
    const connection = this.#admitted(request.socket);
    if (connection === undefined) return true;
    const exchange = new ResponseExchange(this.#entry, event, request, response, connection);
    if (this.#draining) exchange.announceClose();
    this.#run(exchange);
    return true;
  }

  #upgrade(event: string, request: IncomingMessage, socket: Socket, head: Buffer): boolean {
    const connection = this.#admitted(socket);
    if (connection !== undefined && event === "connect" && this.server.listenerCount("connect") === 1)
      socket.end(noTunnel);
    else if (connection !== undefined)
      this.#run(new SocketExchange(this.#entry, event, request, socket, head, connection));
    return true;
  }

  /** The connection, if its peer may still use it; otherwise it is cut: by policy, by its certificate's end, or because nobody let it in. */
  #admitted(socket: Socket): Connection | undefined {
    const connection = connections.get(socket);
    // It ends with the answer under way; what was sent behind that request is not answered.
    if (connection?.closing === true && connection.inFlight > 0 && connection.leave === undefined) return undefined;
    if (connection?.serves(this.listener.inbound(), this.#clock.wall()) === true) return connection;
    socket.destroy();
    return undefined;
  }

  #run(exchange: RequestExchange): void {
    serveRequest(exchange, this.#engine, this.#clock);
  }
}

const noTunnel =
  "HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 27\r\n\r\nCONNECT is not served here\n";

function refuseUnfit(server: Server): void {
  if (server instanceof TlsServer)
    throw new TramaError(
      "OPTIONS_INVALID",
      "protect() takes a plain http.Server: TLS is the mesh's own business; use http.createServer",
      { field: "server" },
    );
  if (!(server instanceof http.Server))
    throw new TramaError("OPTIONS_INVALID", "protect() takes an http.Server, or a server of http2.createServer", {
      field: "server",
    });
  if (server.listening)
    throw new TramaError(
      "OPTIONS_INVALID",
      "protect() must be called before listen(): connections could have come in unprotected",
      { field: "server" },
    );
  if (server.listenerCount("connection") === 0)
    throw new TramaError(
      "OPTIONS_INVALID",
      "the server has no HTTP connection listener; was it protected by another copy of this library?",
      { field: "server" },
    );
}
