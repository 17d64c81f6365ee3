import {
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type IncomingHttpHeaders,
} from "node:http2";
import {
  type ConnectionInjector,
  experimental,
  type Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import { Call, type Clock, type Engine, HeaderList, type Transport } from "@trama/engine";

import { contextOf, runInContext } from "../context.ts";
import { TramaError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { type EnterGrpc, GrpcExchange } from "./grpc-exchange.ts";
import { peers } from "./grpc-peer.ts";
import { checkGrpcRequest } from "./grpc-request-check.ts";
import type { MeshListener } from "./listener.ts";
import { acceptedEncodings, isKnownEncoding } from "../transport/grpc-compression.ts";
import { SessionEnd } from "./session-end.ts";

type Emit = (event: string, ...values: unknown[]) => boolean;

/** INTERNAL: what gRPC says of a request that is malformed (statuscodes.md). */
const internal = 13;
const unimplemented = 12;

/**
 * A grpc-js server behind the mesh. Connections come in decrypted and judged, through grpc-js's own injector; streams are caught between
 * HTTP/2 and grpc-js, by wrapping the `emit` of its HTTP/2 server: that is the one place that every stream passes, methods
 * that nobody registered included, and where the head is still as it came.
 */
export class ProtectedGrpc {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #listener: () => MeshListener;
  readonly #injector: ConnectionInjector;
  readonly #sessions = new Map<ServerHttp2Session, Connection>();
  readonly #enter: EnterGrpc;
  /** Injecting a connection makes its session, and handing on a stream makes its call, before either returns. */
  #admitting: Connection | undefined = undefined;
  #entering: GrpcExchange | undefined = undefined;

  constructor(server: Server, engine: Engine, clock: Clock, listener: () => MeshListener) {
    this.#engine = engine;
    this.#clock = clock;
    this.#listener = listener;
    const credentials = experimental.createServerCredentialsWithInterceptors(ServerCredentials.createInsecure(), [
      this.#interceptor(),
    ]);
    this.#injector = server.createConnectionInjector(credentials);
    const http2Server = newestHttp2Server(server);
    const emit: Emit = http2Server.emit.bind(http2Server) as Emit;
    this.#enter = (exchange) => {
      // grpc-js would say UNIMPLEMENTED too, but not which ways it knows (gRPC compression.md, "Compression Method Asymmetry").
      const { "grpc-encoding": encoding = "identity" } = exchange.headers;
      if (encoding !== "identity" && !isKnownEncoding(String(encoding)))
        return exchange.refuse(unimplemented, "unknown grpc-encoding", { "grpc-accept-encoding": acceptedEncodings });
      this.#entering = exchange;
      try {
        emit("stream", exchange.stream, exchange.headers, 0, exchange.raw);
      } finally {
        this.#entering = undefined;
      }
    };
    http2Server.emit = ((event: string, ...values: unknown[]): boolean => {
      if (event === "stream") {
        const [stream, headers, , raw] = values as [ServerHttp2Stream, IncomingHttpHeaders, number, string[]];
        this.#stream(stream, headers, raw);
        return true;
      }
      if (event === "session") this.#session(values[0] as ServerHttp2Session);
      return emit(event, ...values);
    }) as Http2Server["emit"];
  }

  /** Takes a connection over. */
  admit(connection: Connection): void {
    this.#admitting = connection;
    try {
      this.#injector.injectConnection(connection.socket);
    } finally {
      this.#admitting = undefined;
    }
  }

  #session(session: ServerHttp2Session): void {
    const connection = this.#admitting!;
    this.#sessions.set(session, connection);
    new SessionEnd(session, connection, this.#clock);
    session.on("close", () => this.#sessions.delete(session));
  }

  #stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: readonly string[]): void {
    const connection = this.#sessions.get(stream.session as ServerHttp2Session);
    // The peer may no longer use this connection: by policy, or by its certificate's end.
    if (
      connection === undefined ||
      connection.mesh.peer.notAfterMs <= this.#clock.wall() ||
      !connection.admitted(this.#engine.current.inbound(this.#listener().address))
    ) {
      stream.on("error", () => {});
      (connection?.socket ?? stream.session)?.destroy();
      return;
    }
    const exchange = new GrpcExchange(stream, headers, raw, connection, this.#enter);
    const checked = checkGrpcRequest(headers, raw, connection);
    if (typeof checked === "string") return exchange.refuse(internal, checked);
    const startMs = this.#clock.now();
    const call = new Call({
      snapshot: this.#engine.current,
      side: "inbound",
      protocol: "grpc",
      method: headers[":method"] ?? "POST",
      authority: checked.authority,
      path: headers[":path"]!,
      headers: HeaderList.ofFlat(checked.flat),
      body: exchange,
      transport: noTransport,
      peer: connection.mesh.peer,
      startMs,
    });
    exchange.context = contextOf(call, checked.timeoutMs, connection.hop.attempt);
    call.record.peerWorkload = connection.workload.believed;
    exchange.start(call, connection.chain.serve(GrpcExchange.handler));
  }

  /** Tells handlers who calls, counts messages, and lets what they start inherit deadline and attempt. */
  #interceptor(): ServerInterceptor {
    return (method, next) => {
      const exchange = this.#entering!;
      const { context, connection } = exchange;
      const { record } = exchange.call!;
      record.operation = method.path;
      const within = <A>(fn: (value: A) => void, value: A): void => runInContext(context, fn, value);
      return new ServerInterceptingCall(next, {
        start: (begin) =>
          begin({
            onReceiveMetadata: (metadata, proceed) => {
              peers.set(metadata, connection.mesh.peer);
              within(proceed, metadata);
            },
            onReceiveMessage: (message, proceed) => {
              record.requestMessages++;
              within(proceed, message);
            },
            onReceiveHalfClose: (proceed) => within(proceed, undefined),
          }),
        sendMessage: (message, proceed) => {
          record.responseMessages++;
          proceed(message);
        },
      });
    };
  }
}

/**
 * grpc-js keeps its HTTP/2 servers to itself; the one that an injector has just made is the last of them. Fails closed: without it no
 * stream could be judged.
 */
function newestHttp2Server(server: Server): Http2Server {
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<Http2Server, unknown> };
  const newest = http2Servers instanceof Map ? [...http2Servers.keys()].at(-1) : undefined;
  if (newest === undefined)
    throw new TramaError("OPTIONS_INVALID", "this version of @grpc/grpc-js is not supported: use 1.14", {
      field: "server",
    });
  return newest as Http2Server;
}

/** Nothing is sent on from an inbound call. */
const noTransport: Transport = {
  send: (attempt) => {
    throw new TypeError(`an inbound call was forwarded to ${attempt.endpoint.address}`);
  },
};
