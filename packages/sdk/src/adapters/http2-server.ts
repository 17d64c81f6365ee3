import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import type { Clock, Engine } from "@trama/engine";

import { TramaError } from "../errors.ts";
import type { GuardedServer } from "../internals.ts";
import { type Connection, connections } from "./connection.ts";
import type { EntryPoint } from "./exchange.ts";
import { StreamExchange } from "./http2-exchange.ts";
import { watchSession } from "./http2-limits.ts";
import { checkHttp2Request } from "./http2-request-check.ts";
import { type ListenerOptions, MeshListener } from "./listener.ts";
import { serveExchange } from "./serve-request.ts";
import { SessionEnd } from "./session-end.ts";
import { stopListening } from "./stop-listening.ts";

/**
 * A server of `http2.createServer` that is part of the mesh. There is one way into the application: the `stream` event of a session, from which
 * the server's own `stream`, `request`, `checkContinue` and all the others are made. So it is the session's `emit` that is wrapped, before
 * anybody else can listen.
 */
export class ProtectedHttp2Server implements GuardedServer {
  readonly listener: MeshListener;
  listens = false;
  readonly #server: Http2Server;
  readonly #engine: Engine;
  readonly #clock: Clock;
  #admitting: Connection | undefined = undefined;

  constructor(server: Http2Server, options: ListenerOptions) {
    refuseUnfit(server);
    this.#server = server;
    this.#engine = options.engine;
    this.#clock = options.clock;
    const [accept] = server.listeners("connection") as ((this: Http2Server, socket: Socket) => void)[];
    server.removeListener("connection", accept!);
    server.prependListener("session", (session: ServerHttp2Session) => this.#session(session));
    this.listener = new MeshListener(server, options, (connection) => {
      this.#admitting = connection;
      connection.socket.allowHalfOpen = false;
      try {
        accept!.call(server, connection.socket);
      } finally {
        this.#admitting = undefined;
      }
    });
    this.listener.protocols = ["h2"];
    const listen = server.listen.bind(server) as (...values: unknown[]) => Http2Server;
    server.listen = ((...values: unknown[]): Http2Server => {
      this.listens = true;
      return listen(...values);
    }) as Http2Server["listen"];
    server.on("error", () => (this.listens = server.listening));
    server.on("close", () => (this.listens = false));
  }

  get requestsInFlight(): number {
    let count = 0;
    for (const { inFlight } of this.listener.connections) count += inFlight;
    return count;
  }

  drain(): void {
    for (const connection of this.listener.connections) connection.current?.announceClose();
  }

  async stop(deadlineMs: number, lingerMs: number): Promise<void> {
    this.drain();
    await stopListening(this.#server, this.listener, this.#clock, { deadlineMs, lingerMs });
  }

  #session(session: ServerHttp2Session): void {
    const connection = this.#admitting;
    if (connection === undefined) {
      // Somebody gave the server a connection that nobody let in.
      session.destroy();
      return;
    }
    connections.set(session, connection);
    new SessionEnd(session, connection, this.#clock);
    watchSession(session, this.#clock);
    const emit: EntryPoint = session.emit.bind(session);
    session.emit = ((event: string, ...values: unknown[]): boolean => {
      if (event !== "stream") return emit(event, ...values);
      this.#stream(values as [ServerHttp2Stream, IncomingHttpHeaders, number, string[]], connection, emit);
      return true;
    }) as ServerHttp2Session["emit"];
  }

  #stream(
    values: [ServerHttp2Stream, IncomingHttpHeaders, number, string[]],
    connection: Connection,
    into: EntryPoint,
  ): void {
    const [stream, headers, , raw] = values;
    if (stream.destroyed) {
      // Its peer broke the protocol in the same breath; the error is still to be told, and would end the process.
      stream.on("error", () => {});
      return;
    }
    // The peer may no longer use this connection: by policy, or by its certificate's end.
    if (!connection.serves(this.listener.inbound(), this.#clock.wall())) {
      stream.on("error", () => {});
      connection.socket.destroy();
      return;
    }
    const exchange = new StreamExchange(stream, connection, into, values);
    const checked = checkHttp2Request(headers, raw, connection);
    if ("status" in checked) exchange.refuse(checked.status, checked.reason);
    else serveExchange(exchange, this.#engine, this.#clock, checked);
  }
}

/** Whether this is a server of `http2.createServer` or `createSecureServer`, whose classes Node does not export. */
export function isHttp2Server(server: object): server is Http2Server {
  return "updateSettings" in server && typeof server.updateSettings === "function";
}

function refuseUnfit(server: Http2Server): void {
  const refuse = (message: string): never => {
    throw new TramaError("OPTIONS_INVALID", message, { field: "server" });
  };
  if (server instanceof TlsServer)
    refuse("protect() takes a plain server: TLS is the mesh's own business; use http2.createServer");
  if (server.listening) refuse("protect() must be called before listen(): connections could have come in unprotected");
  if (server.listenerCount("connection") === 0)
    refuse("the server has no HTTP/2 connection listener; was it protected by another copy of this library?");
}
