import type { Agent, ClientRequest } from "node:http";
import { createServer, type Http2Server } from "node:http2";
import type { Clock } from "@trama/engine";

import type { Connection } from "./connection.ts";
import { connections } from "./connection.ts";
import { BridgedStream, type BridgePipes } from "./http2-bridged-stream.ts";
import { http2Limits, watchSession } from "./http2-limits.ts";
import { PipeSocket } from "./pipe-socket.ts";
import { SessionEnd } from "./session-end.ts";

/** Pipes of one connection that wait for a request. */
const maxFree = 32;

/**
 * HTTP/2 in front of an `http.Server`: each stream becomes an HTTP/1.1 exchange over a connection inside the process, and the server serves it
 * as any other: the same parser, the same entry points, the same authorization. Node's own compatibility layer would be
 * shorter, but gives handlers objects of its own classes, which Express and others cannot take (docs/adr/0005).
 */
export class Http2Bridge {
  /** Never listens; connections are handed to it. */
  readonly #http2: Http2Server;
  readonly #pipes = new WeakMap<object, Pipes>();
  #admitting: Connection | undefined = undefined;

  /** `serve` hands a socket to the server's own parser. */
  constructor(clock: Clock, serve: (socket: PipeSocket) => void) {
    this.#http2 = createServer(http2Limits);
    this.#http2.on("session", (session) => {
      const connection = this.#admitting!;
      const pipes = new Pipes(connection, serve);
      this.#pipes.set(session, pipes);
      session.on("close", () => pipes.end());
      new SessionEnd(session, connection, clock);
      watchSession(session, clock);
    });
    this.#http2.on("sessionError", () => {});
    this.#http2.on("stream", (stream, headers, _flags, raw: string[]) => {
      const { session } = stream;
      // A stream whose peer broke the protocol, or whose session ended in the same breath, comes here with its error still to be told, which
      // would end the process.
      if (session === undefined || stream.destroyed) stream.on("error", () => {});
      else new BridgedStream(stream, this.#pipes.get(session)!).begin(headers, raw);
    });
  }

  /** Takes a connection over that speaks HTTP/2. */
  admit(connection: Connection): void {
    this.#admitting = connection;
    // HTTP/1.1 answers a peer that has said its last; in HTTP/2 such a peer is gone.
    connection.socket.allowHalfOpen = false;
    try {
      this.#http2.emit("connection", connection.socket);
    } finally {
      this.#admitting = undefined;
    }
  }
}

/**
 * Those of one connection: all of its requests have the same peer. Each has a parser and a dozen listeners at its other end, so that making one
 * costs more than a request. An agent as Node's client asks for, and no more: that of Node names, counts and queues what is
 * all one here, for 3 KB of garbage a request.
 */
class Pipes implements BridgePipes {
  readonly agent: Agent;
  readonly #connection: Connection;
  readonly #serve: (socket: PipeSocket) => void;
  /** The one that was used last is taken first. */
  readonly #free: PipeSocket[] = [];
  #ended = false;

  constructor(connection: Connection, serve: (socket: PipeSocket) => void) {
    this.#connection = connection;
    this.#serve = serve;
    const addRequest = (request: ClientRequest): void => request.onSocket(this.#take().socket);
    this.agent = { addRequest, defaultPort: 80, protocol: "http:", keepAlive: true, options: {} } as unknown as Agent;
  }

  /** The connection has ended, and with it what is free; the others end with their streams. */
  end(): void {
    this.#ended = true;
    for (const pipe of this.#free.splice(0)) pipe.destroy();
  }

  #take(): PipeSocket {
    for (let pipe = this.#free.pop(); pipe !== undefined; pipe = this.#free.pop())
      // The server may have ended it a moment ago, as one that was idle for long.
      if (!pipe.destroyed && !pipe.other.destroyed) return pipe;
    const pipe = this.once();
    // Node's client says so when its request is written, its answer read, and both ends will go on.
    pipe.on("free", () => {
      if (this.#ended || pipe.destroyed || this.#free.length >= maxFree) pipe.destroy();
      else this.#free.push(pipe);
    });
    pipe.on("close", () => {
      const at = this.#free.indexOf(pipe);
      if (at >= 0) this.#free.splice(at, 1);
    });
    // Nobody has it while it is free.
    pipe.on("error", () => {});
    return pipe;
  }

  once(): PipeSocket {
    const connection = this.#connection;
    const { remoteAddress, remotePort, localAddress, localPort } = connection.facts;
    const [client, server] = PipeSocket.pair(
      { remoteAddress: localAddress, remotePort: localPort, localAddress: remoteAddress, localPort: remotePort },
      { remoteAddress, remotePort, localAddress, localPort },
    );
    if (connection.facts.transportProtocol === "tls") likeTls(server, connection);
    connections.set(server, connection);
    this.#serve(server);
    return client;
  }
}

/** Frameworks ask the socket whether a request is secure, and applications whose certificate it came with. */
function likeTls(pipe: PipeSocket, { socket }: Connection): void {
  const tls = socket as unknown as Record<string, unknown>;
  const facade = pipe as unknown as Record<string, unknown>;
  facade["encrypted"] = true;
  facade["authorized"] = tls["authorized"];
  for (const name of ["getPeerCertificate", "getPeerX509Certificate", "getProtocol", "getCipher", "getCertificate"]) {
    const method = tls[name];
    if (typeof method === "function")
      facade[name] = (...values: unknown[]): unknown => method.apply(socket, values) as unknown;
  }
  facade["alpnProtocol"] = "h2";
  facade["servername"] = tls["servername"];
}
