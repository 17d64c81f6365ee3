import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

import type { XdsServer } from "../bootstrap.ts";
import type { TlsMaterial } from "./credentials.ts";
import { connectFailure, dial } from "./dial.ts";
import type { Target } from "./target.ts";

/** A call on a connection. */
export interface ConnectionUser {
  /** The connection stands, and requests may go out on it. Once. */
  onConnected(session: ClientHttp2Session): void;
  /** The server has said its settings (R10). Once, after `onConnected`. */
  onOpen(): void;
  /** Last: why there is no connection, or `undefined` if the peer or the network ended it. */
  onLost(reason: string | undefined): void;
}

export interface ConnectionOptions {
  /** A ping after this long without traffic. Default 300,000: servers that follow gRPC's defaults cut off faster ones. */
  readonly keepAliveMs?: number | undefined;
  /** How long the server may be silent where it has to say something: while a connection is made, and after a ping. Default 20,000. */
  readonly silenceMs?: number | undefined;
}

/**
 * Bytes that the server may send before we have taken them. gRPC's usual 64 KiB make a large response wait for the way there and back too
 * often; a megabyte came in one turn of the event loop, and held it for 3 to 6 ms.
 */
const windowBytes = 256 * 1024;

/** One connection of HTTP/2 to a control plane, from the first packet until the last of its calls has left, or it is lost. */
export class GrpcConnection {
  readonly #options: ConnectionOptions;
  readonly #users = new Set<ConnectionUser>();
  readonly #socket: Socket;
  #session: ClientHttp2Session | undefined;
  #opened = false;
  #pinged = false;
  /** A call was given up here before it was answered: nobody knows whether the other end is still there. */
  #doubtful = false;
  #ended = false;

  /** Throws a `CallError` for certificates that cannot be used. */
  constructor(
    options: ConnectionOptions,
    target: Target,
    tls: TlsMaterial | undefined,
    serverName: string | undefined,
  ) {
    this.#options = options;
    const socket = dial(target, tls, serverName);
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setTimeout(this.#silenceMs, () => this.#end(`no connection within ${this.#silenceMs} ms`));
    socket.on("error", (error: Error) => this.#end(connectFailure(error)));
    // Node closes the streams first and the session after them, as if the peer had cancelled each: this comes before both.
    socket.prependListener("close", () => this.#end(undefined));
    if (tls === undefined) socket.once("connect", () => this.#connected(socket));
    else
      socket.once("secureConnect", () =>
        (socket as TLSSocket).alpnProtocol === "h2" ? this.#connected(socket) : this.#end("it does not speak HTTP/2"),
      );
  }

  /** Whether a call may still begin here: not after the server has said that it goes away, and not where one got no answer. */
  get usable(): boolean {
    return !this.#ended && !this.#doubtful && this.#session?.closed !== true;
  }

  join(user: ConnectionUser): void {
    this.#users.add(user);
    if (this.#session === undefined) return;
    user.onConnected(this.#session);
    if (this.#opened && this.#users.has(user)) user.onOpen();
  }

  /** The last one to leave ends it. */
  leave(user: ConnectionUser, answered: boolean): void {
    if (!answered) this.#doubtful = true;
    if (this.#users.delete(user) && this.#users.size === 0) this.#end(undefined);
  }

  #connected(socket: Socket): void {
    if (this.#ended) return;
    socket.setTimeout(0);
    const session = connectHttp2("http://control-plane.invalid", {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: windowBytes },
    });
    this.#session = session;
    session.on("error", (error: Error) => this.#end(error.message));
    session.on("timeout", () => this.#silent(session));
    session.setTimeout(this.#silenceMs);
    session.once("connect", () => {
      if (!session.destroyed) session.setLocalWindowSize(windowBytes); // it throws on one that was given up meanwhile
    });
    session.once("remoteSettings", () => this.#open(session));
    for (const user of this.#users) user.onConnected(session);
  }

  /** Requests are on their way, to somebody who speaks HTTP/2. */
  #open(session: ClientHttp2Session): void {
    if (this.#ended) return;
    this.#opened = true;
    session.setTimeout(this.#options.keepAliveMs ?? 300_000);
    for (const user of this.#users) user.onOpen();
  }

  #silent(session: ClientHttp2Session): void {
    if (this.#ended) return;
    if (!this.#opened) return this.#end(`no answer within ${this.#silenceMs} ms`);
    if (this.#pinged) return this.#end(`no answer to a ping within ${this.#silenceMs} ms`);
    this.#pinged = true;
    session.setTimeout(this.#silenceMs);
    session.ping(() => {
      this.#pinged = false;
      if (!this.#ended) session.setTimeout(this.#options.keepAliveMs ?? 300_000);
    });
  }

  get #silenceMs(): number {
    return this.#options.silenceMs ?? 20_000;
  }

  #end(reason: string | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    const users = [...this.#users];
    this.#users.clear();
    this.#session?.destroy();
    this.#socket.destroy();
    for (const user of users) user.onLost(reason);
  }
}

/**
 * Calls without a certificate of ours go on one connection while it stands. A process that starts opens its stream and asks for its first
 * certificate at the same time, and a handshake is most of what either costs, on both sides. Later calls show a certificate, and have a
 * connection of their own, so that what rotates is always fresh.
 */
export class SharedConnection {
  #last:
    | { readonly server: XdsServer; readonly ca: string | undefined; readonly connection: GrpcConnection }
    | undefined;

  /** The one that stands, if it was made with the same, or a new one by `make`. */
  get(server: XdsServer, tls: TlsMaterial | undefined, make: () => GrpcConnection): GrpcConnection {
    if (this.#last?.connection.usable === false) this.#last = undefined;
    if (tls?.cert !== undefined) return make();
    const last = this.#last;
    if (last?.server === server && last.ca === tls?.ca) return last.connection;
    const connection = make();
    this.#last = { server, ca: tls?.ca, connection };
    return connection;
  }
}
