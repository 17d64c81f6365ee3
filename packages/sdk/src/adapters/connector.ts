import { Call, type Clock, type Engine, HeaderList, MeshError, type Service, type Sink } from "@trama/engine";
import { connect as connectTcp, isIP, type Socket } from "node:net";

import { TramaError } from "../errors.ts";
import { failureOf, plaintextPeer } from "../transport/connect.ts";
import type { TcpTransport } from "../transport/tcp.ts";
import { type ConnectionBody, cut, Tunnel } from "../transport/tunnel.ts";
import { isLoopback } from "./destination.ts";
import type { HostLookup } from "./host-lookup.ts";
import { blackHole, passThroughCluster } from "./pass-through.ts";

/** Where a connection is to go. */
export interface ConnectOptions {
  /** Host name as the mesh knows it, or an IP address. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
  /**
   * The server name that the application is going to ask for in a TLS handshake of its own, if it makes one: rules of VirtualService `tls`
   * choose by it, for what is inside of the connection is not looked at. Default: `host`, or none where that is an IP address.
   */
  readonly servername?: string | undefined;
  /** Ends the attempt to connect. It has no effect on a connection that stands. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectorOptions {
  readonly engine: Engine;
  readonly lookup: HostLookup;
  readonly transport: TcpTransport;
  readonly clock: Clock;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
}

/** Connects to hosts that the mesh does not know, and to this machine: as long as it does to those that it knows, by default. */
const connectTimeoutMs = 10_000;

/**
 * Connections to opaque ports, for drivers and protocols of which the mesh reads nothing: routes by server name, weighted destinations, balancing,
 * outlier detection, mutual TLS and metrics hold for them, one connection at a time. The socket is Node's own, with nothing in between.
 */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #past: Service;
  readonly #refused: Service;
  /** Those past the mesh; the others are known to the transport. */
  readonly #open = new Set<Tunnel>();
  #closed = false;

  constructor(options: ConnectorOptions) {
    this.#options = options;
    this.#past = options.engine.observe((call, sink) => this.#dialPast(call, sink));
    this.#refused = options.engine.observe(blackHole);
  }

  /** Fails with one {@link MeshError}, or with the reason of the signal. */
  async connect(options: ConnectOptions): Promise<Socket> {
    const host = hostOf(options);
    const { signal } = options;
    signal?.throwIfAborted();
    const { lookup, outboundTrafficPolicy } = this.#options;
    const listener = `${host.includes(":") ? `[${host}]` : host}:${options.port}`;
    let standing: ReturnType<HostLookup["of"]> = lookup.of(listener);
    const loopback = isLoopback(host.includes(":") ? `[${host}]` : host);
    if (standing === "unasked" && !loopback) {
      const answer = await lookup.ask(listener);
      signal?.throwIfAborted();
      if (answer instanceof MeshError) throw answer;
      standing = answer;
    }
    const known = standing === "opaque" || (standing === "mesh" && !this.#blocked(listener));
    if (known) return this.#call((call, sink) => this.#options.engine.outbound(listener, call, sink), host, options);
    const past = standing !== "mesh" && (loopback || outboundTrafficPolicy === "ALLOW_ANY");
    return this.#call(past ? this.#past : this.#refused, host, options);
  }

  /** The control plane refuses the unknown for this process by routes of Istio's name, which have no words for connections. */
  #blocked(listener: string): boolean {
    return this.#options.engine.current.config.outbound.get(listener)?.routes.name === "block_all";
  }

  /** Cuts the connections that went past the mesh, and makes no more. */
  close(): void {
    this.#closed = true;
    for (const tunnel of this.#open) tunnel.abort(cut());
  }

  #call(service: Service, host: string, { port, servername, signal }: ConnectOptions): Promise<Socket> {
    const { engine, clock, transport } = this.#options;
    if (this.#closed) return Promise.reject(new MeshError("CLOSED", "the mesh is closed"));
    return new Promise((resolve, reject) => {
      const connection = new Connection({ host, port }, (error, socket) => {
        signal?.removeEventListener("abort", abort);
        if (error === undefined) resolve(socket!);
        else reject(error.code === "ABORTED" && signal?.aborted === true ? (signal.reason as Error) : error);
      });
      const call = new Call({
        snapshot: engine.current,
        side: "outbound",
        protocol: "tcp",
        method: "CONNECT",
        authority: (servername ?? (isIP(host) === 0 ? host : "")).toLowerCase().replace(/\.$/, ""),
        path: "/",
        headers: HeaderList.ofFlat([]),
        body: connection,
        transport,
        startMs: clock.now(),
      });
      const abort = (): void => call.abort(signal!.reason);
      signal?.addEventListener("abort", abort, { once: true });
      service(call, connection);
    });
  }

  #dialPast(call: Call, sink: Sink): void {
    const { clock } = this.#options;
    call.record.cluster = passThroughCluster;
    call.record.attempts = 1;
    const { host, port } = (call.body as Connection).place;
    const tunnel = new Tunnel(call, sink, () => {
      this.#open.delete(tunnel);
      if (call.active === tunnel) call.active = undefined;
    });
    this.#open.add(tunnel);
    call.active = tunnel;
    const socket = connectTcp({ host, port });
    const timer = clock.after(connectTimeoutMs, () =>
      socket.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)),
    );
    const failed = (error: Error): void => {
      timer.cancel();
      tunnel.dialled(failureOf(`${host}:${port}`, "CONNECT_FAILED", error), null, plaintextPeer);
    };
    tunnel.dialling((reason) => socket.destroy(reason));
    socket.once("error", failed);
    socket.once("connect", () => {
      timer.cancel();
      socket.removeListener("error", failed);
      tunnel.dialled(null, socket, plaintextPeer);
    });
  }
}

/** A connection that the application wants: the end of its call, and of what went both ways. */
class Connection implements Sink, ConnectionBody {
  readonly place: { readonly host: string; readonly port: number };
  readonly #done: (error: MeshError | undefined, socket?: Socket) => void;
  #settled = false;
  #socket: Socket | undefined = undefined;

  constructor(place: Connection["place"], done: (error: MeshError | undefined, socket?: Socket) => void) {
    this.place = place;
    this.#done = done;
  }

  /** Nothing is sent before it stands. */
  canReplay(): boolean {
    return true;
  }

  moved(): number {
    const { request, response } = this.traffic();
    return request + response;
  }

  traffic(): { request: number; response: number } {
    return { request: this.#socket?.bytesWritten ?? 0, response: this.#socket?.bytesRead ?? 0 };
  }

  connected(socket: Socket): void {
    this.#socket = socket;
    this.#settle(undefined, socket);
  }

  onHead(): void {}

  onData(): void {}

  onEnd(): void {
    this.#settle(new MeshError("CONNECT_FAILED", `${this.place.host}:${this.place.port}: closed as soon as it stood`));
  }

  onError(error: MeshError): void {
    this.#settle(error);
  }

  #settle(error: MeshError | undefined, socket?: Socket): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#done(error, socket);
  }
}

/** In the form that names have in the mesh. */
function hostOf({ host, port, servername }: ConnectOptions): string {
  const refuse = (field: string, text: string): never => {
    throw new TramaError("OPTIONS_INVALID", `${field} ${text}`, { field });
  };
  if (typeof host !== "string" || host === "" || /[\s/\0]/.test(host))
    refuse("host", "must be a host name or an address");
  if (!Number.isInteger(port) || port < 1 || port > 65_535) refuse("port", "must be a whole number from 1 to 65535");
  if (servername !== undefined && (typeof servername !== "string" || /[\s/\0]/.test(servername)))
    refuse("servername", "must be a host name");
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}
