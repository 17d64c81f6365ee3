import { Server as NetServer, type Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import {
  Call,
  HeaderList,
  type MeshError,
  noFlow,
  type RequestBody,
  type ResponseHead,
  type Service,
  type Sink,
} from "@trama/engine";

import { http } from "../env/node-http.ts";
import { TramaError } from "../errors.ts";
import type { GuardedServer } from "../internals.ts";
import type { Connection } from "./connection.ts";
import { type ListenerOptions, MeshListener } from "./listener.ts";
import { stopListening } from "./stop-listening.ts";

/** How often a connection that is to end is looked at, whether anything still moves on it. */
const quietMs = 1_000;

/**
 * A server of `net.createServer` that is part of the mesh: for opaque ports, of whose protocol the mesh reads nothing. Its `connection` listeners get
 * the sockets of peers that may come in, decrypted: mutual TLS and authorization by who the peer is come before them, and that is all there can be.
 */
export class ProtectedTcpServer implements GuardedServer {
  readonly listener: MeshListener;
  listens = false;
  readonly #server: NetServer;
  readonly #options: ListenerOptions;
  readonly #handler: Service;
  #saidWrong = false;

  constructor(server: NetServer, options: ListenerOptions) {
    refuseUnfit(server);
    this.#server = server;
    this.#options = options;
    const emit = server.emit.bind(server) as (event: string, ...values: unknown[]) => boolean;
    this.#handler = (call, sink) => {
      const { socket } = call.body as Accepted;
      call.active = { abort: (reason) => void socket.destroy(reason) };
      socket.once("close", () => sink.onEnd(undefined));
      sink.onHead({ status: 200, headers: HeaderList.ofFlat([]) }, noFlow);
      emit("connection", socket);
    };
    this.listener = new MeshListener(server, { ...options, serverFirst: true }, (connection) =>
      this.#serve(connection),
    );
    this.listener.protocols = [];
    // The mesh reads what is accepted; the application's listeners, whenever they come, what it lets in.
    const accept = server.listeners("connection").at(-1) as (socket: Socket) => void;
    server.removeListener("connection", accept);
    server.emit = ((event: string, ...values: unknown[]): boolean => {
      if (event !== "connection") return emit(event, ...values);
      accept(values[0] as Socket);
      return true;
    }) as NetServer["emit"];
    const listen = server.listen.bind(server) as (...values: unknown[]) => NetServer;
    server.listen = ((...values: unknown[]): NetServer => {
      this.listens = true;
      return listen(...values);
    }) as NetServer["listen"];
    server.on("error", () => (this.listens = server.listening));
    server.on("close", () => (this.listens = false));
  }

  /** Connections: what is in them is not known. */
  get requestsInFlight(): number {
    return this.listener.connections.size;
  }

  /** There is no word for it in a protocol that is not known. */
  drain(): void {}

  async stop(deadlineMs: number, lingerMs: number): Promise<void> {
    await stopListening(this.#server, this.listener, this.#options.clock, { deadlineMs, lingerMs });
  }

  #serve(connection: Connection): void {
    const { socket, chain } = connection;
    if (chain.config.opaque !== true) {
      // Its policies may look at requests, and here nobody can.
      socket.destroy();
      if (!this.#saidWrong)
        this.#options.log.error(
          `${this.listener.address} is a port of requests by its configuration, and is served as one of connections: nobody is let in; declare its port TCP in the ServiceEntry`,
        );
      this.#saidWrong = true;
      return;
    }
    const { engine, clock } = this.#options;
    const { peer } = connection.mesh;
    connection.leave = () => {
      if (connection.admitted(this.listener.inbound())) this.#leave(socket);
      else socket.destroy();
    };
    // Its close tells what is to be done here; what was wrong is for the application.
    socket.on("error", () => {});
    const call = new Call({
      snapshot: engine.current,
      side: "inbound",
      protocol: "tcp",
      method: "CONNECT",
      authority: peer.serverName,
      path: "/",
      headers: HeaderList.ofFlat([]),
      body: new Accepted(socket),
      transport: nowhere,
      peer,
      startMs: clock.now(),
    });
    chain.serve(this.#handler)(call, new Refusal(socket));
  }

  /** Lets it end by itself for as long as something moves on it: where a request of its protocol ends, only the application knows. */
  #leave(socket: Socket): void {
    const { clock } = this.#options;
    let moved = socket.bytesRead + socket.bytesWritten;
    const look = (): void => {
      if (socket.destroyed) return;
      const now = socket.bytesRead + socket.bytesWritten;
      if (now === moved) return socket.destroySoon();
      moved = now;
      clock.after(quietMs, look);
    };
    clock.after(quietMs, look);
  }
}

/** The body of a call that is an accepted connection. */
class Accepted implements RequestBody {
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  canReplay(): boolean {
    return false;
  }

  traffic(): { request: number; response: number } {
    return { request: this.socket.bytesRead, response: this.socket.bytesWritten };
  }
}

/** Who is not let in learns nothing. */
class Refusal implements Sink {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  onHead({ status }: ResponseHead): void {
    if (status !== 200) this.#socket.destroy();
  }

  onData(): void {}

  onEnd(): void {}

  onError(_error: MeshError): void {
    this.#socket.destroy();
  }
}

const nowhere = { send(): void {} };

/** Whether this is a plain server of connections, and not one of those that are made of it. */
export function isConnectionServer(server: object): server is NetServer {
  return server instanceof NetServer && !(server instanceof http.Server) && !(server instanceof TlsServer);
}

function refuseUnfit(server: NetServer): void {
  if (server.listening)
    throw new TramaError(
      "OPTIONS_INVALID",
      "protect() must be called before listen(): connections could have come in unprotected",
      { field: "server" },
    );
}
