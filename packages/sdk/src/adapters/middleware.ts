import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ConnectionFacts, InboundSnapshot, Peer } from "@trama/engine";

import { TramaError } from "../errors.ts";
import { internals, type MeshInternals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import { vouchedFor } from "../transport/certificate-chain.ts";
import { checkPeer } from "../transport/tls.ts";
import { Connection, connections } from "./connection.ts";
import { type EntryPoint, type RequestExchange, ResponseExchange, SocketExchange } from "./exchange.ts";
import { addressOf, factsOf, plaintextPeer } from "./listener.ts";
import { serveRequest } from "./serve-request.ts";

export { peerOf } from "./connection.ts";
export type { MeshRequest } from "./connection.ts";

type Next = (error?: unknown) => void;

/** `(request, response, next)`, as Express, Connect and Fastify's middie take it. */
export interface MeshMiddleware {
  (request: IncomingMessage, response: ServerResponse, next: Next): void;
  /** The same for a listener of `upgrade`: `server.on("upgrade", (request, socket, head) => guard.upgrade(request, socket, head, () => …))`. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer, next: () => void): void;
}

/**
 * The policy of the mesh for requests of a server that is not the mesh's own: authorization, faults, telemetry, the deadline for nested calls, and
 * the checks of `protect()`. It must stand first, at the root of the application. HTTP/1.1 only.
 *
 * What it cannot do, because bytes were read before it was asked: keep plaintext out before it is interpreted, take mutual TLS and
 * plaintext on one port, renew the server's certificate, close connections that a new policy forbids (their next request is refused). Where
 * the server's own TLS asks for client certificates, a certificate that the roots of the mesh vouch for is the peer's identity; everyone
 * else is nobody, and is refused in STRICT. Nothing passes until configuration and identity are there.
 */
export function middleware(mesh: Mesh): MeshMiddleware {
  const inside = internals.get(mesh);
  if (inside === undefined)
    throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
  const guard = new Guard(inside);
  return Object.assign(
    (request: IncomingMessage, response: ServerResponse, next: Next): void => guard.request(request, response, next),
    {
      upgrade: (request: IncomingMessage, socket: Socket, head: Buffer, next: () => void): void =>
        guard.upgrade(request, socket, head, next),
    },
  );
}

/** A request listener behind the policy of the mesh, for `http.createServer(guarded(mesh, listener))` and `https.createServer`. */
export function guarded(mesh: Mesh, listener: RequestListener): RequestListener {
  const guard = middleware(mesh);
  return (request, response) => guard(request, response, () => listener(request, response));
}

class Guard {
  readonly #inside: MeshInternals;
  readonly #known = new WeakMap<object, Connection>();
  /** Asked of the control plane, by the address of the server. */
  readonly #asked = new Map<string, Promise<unknown>>();

  constructor(inside: MeshInternals) {
    this.#inside = inside;
  }

  request(request: IncomingMessage, response: ServerResponse, next: Next): void {
    // Already judged: the server is protected as well.
    if (connections.has(request.socket)) return next();
    const refuse = (status: number, text: string): void => {
      if (response.headersSent || response.destroyed) return;
      response.writeHead(status, { "content-type": "text/plain", connection: "close" });
      response.end(`${text}\n`);
    };
    const entry: EntryPoint = () => {
      next();
      return true;
    };
    this.#judge(request, refuse, (connection) => new ResponseExchange(entry, "request", request, response, connection));
  }

  upgrade(request: IncomingMessage, socket: Socket, head: Buffer, next: () => void): void {
    if (connections.has(request.socket)) return next();
    const refuse = (status: number): void => void socket.end(`HTTP/1.1 ${status} \r\nconnection: close\r\n\r\n`);
    const entry: EntryPoint = () => {
      next();
      return true;
    };
    this.#judge(
      request,
      refuse,
      (connection) => new SocketExchange(entry, "upgrade", request, socket, head, connection),
    );
  }

  #judge(
    request: IncomingMessage,
    refuse: (status: number, text: string) => void,
    made: (connection: Connection) => RequestExchange,
  ): void {
    const { engine, clock, open } = this.#inside;
    const mounted = (request as { originalUrl?: string }).originalUrl;
    if (!open) return refuse(503, "the mesh is closed");
    if (request.httpVersionMajor !== 1) return refuse(505, "only HTTP/1.1 can be judged here");
    // Policy speaks of the whole path.
    if (mounted !== undefined && mounted !== request.url) return refuse(500, "the middleware must stand at the root");
    const address = boundAddress(request.socket);
    if (address === undefined) return refuse(503, "the server listens on no TCP port");
    const inbound = engine.current.inbound(address);
    if (inbound === undefined) {
      void this.#ask(address).then(() => {
        if (request.socket.destroyed) return;
        if (engine.current.inbound(address) === undefined) refuse(503, "no configuration");
        else this.#judge(request, refuse, made);
      });
      return;
    }
    const connection = this.#connection(request.socket, inbound);
    if (typeof connection === "string") return refuse(403, connection);
    if (!connection.serves(inbound, clock.wall())) return refuse(403, "not by the policy in force");
    serveRequest(made(connection), engine, clock);
  }

  /** Once for each address: the answer is kept up to date from then on. One that failed is asked again. */
  #ask(address: string): Promise<unknown> {
    let asking = this.#asked.get(address);
    if (asking === undefined) {
      asking = this.#inside.discovery.inbound(address).catch(() => this.#asked.delete(address));
      this.#asked.set(address, asking);
    }
    return asking;
  }

  /** Who is there, established once for each connection; text says why nobody may be. */
  #connection(socket: Socket, inbound: InboundSnapshot): Connection | string {
    const known = this.#known.get(socket);
    if (known !== undefined) return known;
    const identity = this.#inside.identity.current;
    if (identity === undefined) return "no identity yet";
    const plain = factsOf(socket, false);
    if (plain === undefined) return "the peer has left";
    const found = this.#peer(socket as TLSSocket, plain, inbound);
    if (typeof found === "string") return found;
    const facts: ConnectionFacts = { ...plain, transportProtocol: found.mtls ? "tls" : "raw_buffer" };
    const chain = inbound.chain(facts);
    if (chain === undefined || (chain.config.tls !== undefined) !== found.mtls || !chain.admits(found))
      return "this port asks for mutual TLS";
    const connection = new Connection(socket, facts, found, inbound, chain);
    this.#known.set(socket, connection);
    return connection;
  }

  #peer(socket: TLSSocket, facts: ConnectionFacts, inbound: InboundSnapshot): Peer | string {
    const nobody = plaintextPeer(facts);
    // Also a certificate that the server's own roots vouch for is nobody's here, unless those of the mesh do.
    const certificate = socket.authorized && !socket.isSessionReused() ? socket.getPeerX509Certificate() : undefined;
    const identity = this.#inside.identity.current!;
    if (certificate === undefined || !vouchedFor(certificate, identity.rootsPem, this.#inside.clock.wall()))
      return nobody;
    const names = inbound.chain({ ...facts, transportProtocol: "tls" })?.config.tls?.subjectNames ?? [];
    const id = checkPeer(certificate, names, identity.trustDomain);
    if (typeof id === "string") return id;
    return {
      ...nobody,
      spiffeId: id.uri,
      trustDomain: id.trustDomain,
      namespace: id.namespace,
      serviceAccount: id.serviceAccount,
      mtls: true,
      serverName: typeof socket.servername === "string" ? socket.servername : "",
      notAfterMs: certificate.validToDate.getTime(),
    };
  }
}

/** As its listener is named: by the address that the server is bound to, not the one that was called. */
function boundAddress(socket: Socket): string | undefined {
  const bound = (socket as { server?: Server }).server?.address();
  return bound === null || bound === undefined || typeof bound === "string" ? undefined : addressOf(bound);
}
