import type { Server as HttpServer } from "node:http";
import { createServer as createTcpServer, type Server as TcpServer } from "node:net";
import type { Server, ServerCredentials } from "@grpc/grpc-js";

import { TramaError } from "../errors.ts";
import { type GuardedServer, internals, type MeshInternals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import type { Connection } from "./connection.ts";
import { ProtectedGrpc } from "./grpc-protected.ts";
import { speaksHttp2 } from "./grpc-preface.ts";
import { type ListenerOptions, MeshListener } from "./listener.ts";
import { stopListening } from "./stop-listening.ts";

export interface ProtectGrpcOptions {
  /**
   * Serve gRPC on the port of this HTTP server of the mesh: HTTP/2 connections are gRPC's, HTTP/1.1 its own. Call it before the HTTP
   * server listens; the gRPC server is then bound by it, and not by `bindAsync`.
   */
  readonly http?: HttpServer | undefined;
}

type Bind = Server["bindAsync"];

const protectedServers = new WeakSet<Server>();

/**
 * Makes a grpc-js server part of the mesh: mTLS and, where policy permits it, plaintext on its own port; authorization and faults before
 * any handler. Bind it as ever, `server.bindAsync("0.0.0.0:9090", ServerCredentials.createInsecure(), done)`; transport security
 * is the mesh's business. Returns it. Idempotent. Handlers find who is calling by {@link peerOf}.
 */
export function protectGrpc(mesh: Mesh, server: Server, options: ProtectGrpcOptions = {}): Server {
  if (protectedServers.has(server)) return server;
  const inside = internals.get(mesh);
  if (inside === undefined)
    throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
  if (!inside.open) throw new TramaError("CLOSED", "protectGrpc() on a mesh that is closed");
  refuseUnfit(server);
  if (options.http === undefined) ownPorts(inside, server);
  else sharePort(inside, server, options.http);
  protectedServers.add(server);
  return server;
}

function refuseUnfit(server: Server): void {
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<unknown, unknown> };
  if (typeof server?.bindAsync !== "function")
    throw new TramaError("OPTIONS_INVALID", "protectGrpc() takes a Server of @grpc/grpc-js", { field: "server" });
  if (http2Servers !== undefined && http2Servers.size > 0)
    throw new TramaError(
      "OPTIONS_INVALID",
      "protectGrpc() must be called before bindAsync(): connections could have come in unprotected",
      { field: "server" },
    );
}

function sharePort(inside: MeshInternals, server: Server, http: HttpServer): void {
  const guard = inside.guardOf(http);
  if (guard === undefined)
    throw new TramaError("OPTIONS_INVALID", "the HTTP server is not of this mesh: call mesh.protect(server) first", {
      field: "http",
    });
  if (http.listening)
    throw new TramaError("OPTIONS_INVALID", "protectGrpc() must be called before the HTTP server listens", {
      field: "http",
    });
  if (guard.neighbour !== undefined)
    throw new TramaError("OPTIONS_INVALID", "another gRPC server has the port of this HTTP server already", {
      field: "http",
    });
  const { listener } = guard;
  const grpc = new ProtectedGrpc(server, inside.engine, inside.clock, () => listener);
  // gRPC offers h2 alone; who offers both is a client of HTTP.
  listener.protocols = ["http/1.1", "h2"];
  guard.neighbour = (connection, leave) => {
    const take = (http2: boolean): void => (http2 ? grpc.admit(connection) : leave());
    const { alpnProtocol } = connection.socket as { alpnProtocol?: string | false | null };
    if (alpnProtocol === "h2") grpc.admit(connection);
    else if (alpnProtocol === "http/1.1") leave();
    else speaksHttp2(connection.socket, inside.clock, take);
  };
  server.bindAsync = ((_port, _credentials, done) => {
    const error = new TramaError(
      "OPTIONS_INVALID",
      "this gRPC server has the port of its HTTP server: call listen() on that",
    );
    process.nextTick(() => done(error, 0));
  }) as Bind;
  server.start = () => {};
}

/** `bindAsync` opens a port of the mesh; the rest of the server's life is followed. */
function ownPorts(inside: MeshInternals, server: Server): void {
  const ports = new Set<GrpcPort>();
  const tryShutdown = server.tryShutdown.bind(server);
  const forceShutdown = server.forceShutdown.bind(server);
  server.bindAsync = ((address: string, credentials: ServerCredentials, done: Parameters<Bind>[2]) => {
    const where = parseBind(address);
    if (where instanceof TramaError || credentials?._isSecure()) {
      const error = where instanceof TramaError ? where : ownTls;
      process.nextTick(() => done(error, 0));
      return;
    }
    const port = new GrpcPort(server, inside, () => ports.delete(port));
    ports.add(port);
    port.listen(where.port, where.host, done);
  }) as Bind;
  // Old code calls it after bindAsync; there it throws when grpc-js itself is bound to nothing.
  server.start = () => {};
  server.tryShutdown = (done) => {
    for (const port of ports) port.unbind();
    tryShutdown(done);
  };
  server.forceShutdown = () => {
    for (const port of ports) port.unbind();
    forceShutdown();
  };
}

const ownTls = new TramaError(
  "OPTIONS_INVALID",
  "a gRPC server of the mesh takes ServerCredentials.createInsecure(): TLS is the mesh's own business",
  { field: "credentials" },
);

/** `host:port` as grpc-js takes it, without a scheme or with `dns:`, `ipv4:`, `ipv6:`. */
function parseBind(address: string): { readonly host: string; readonly port: number } | TramaError {
  const match = /^(?:dns:(?:\/\/\/)?|ipv4:|ipv6:)?(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    return new TramaError("OPTIONS_INVALID", `bindAsync: ${JSON.stringify(address)} is not host:port`, {
      field: "port",
    });
  return { host: match[1] ?? match[2]!, port };
}

/** One bound port of a gRPC server. */
class GrpcPort implements GuardedServer {
  readonly listener: MeshListener;
  listens = true;
  readonly #tcp: TcpServer;
  readonly #clock: ListenerOptions["clock"];
  readonly #forget: () => void;

  constructor(server: Server, inside: MeshInternals, forget: () => void) {
    this.#clock = inside.clock;
    this.#tcp = createTcpServer({ noDelay: true, pauseOnConnect: false });
    const grpc = new ProtectedGrpc(server, inside.engine, inside.clock, () => this.listener);
    this.listener = new MeshListener(
      this.#tcp,
      { ...inside, onState: () => inside.changed() },
      (connection: Connection) => grpc.admit(connection),
    );
    this.listener.protocols = ["h2"];
    const leave = inside.guard(this);
    this.#forget = () => {
      leave();
      forget();
    };
  }

  get requestsInFlight(): number {
    let count = 0;
    for (const { inFlight } of this.listener.connections) count += inFlight;
    return count;
  }

  listen(port: number, host: string, done: Parameters<Bind>[2]): void {
    const failed = (error: Error): void => {
      this.listens = false;
      this.#forget();
      done(error, 0);
    };
    this.#tcp.once("error", failed);
    this.#tcp.listen(port, host, () => {
      this.#tcp.removeListener("error", failed);
      this.#tcp.on("error", () => {});
      const bound = this.#tcp.address();
      done(null, typeof bound === "object" && bound !== null ? bound.port : port);
    });
  }

  /** The application shuts its server down itself: nobody new comes in, and grpc-js ends those that are in. */
  unbind(): void {
    this.listens = false;
    this.#forget();
    this.#tcp.close();
    this.listener.stop();
  }

  drain(): void {
    for (const connection of this.listener.connections) connection.current?.announceClose();
  }

  async stop(deadlineMs: number, lingerMs: number): Promise<void> {
    this.drain();
    await stopListening(this.#tcp, this.listener, this.#clock, { deadlineMs, lingerMs });
    this.#forget();
  }
}
