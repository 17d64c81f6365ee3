import {
  Call,
  type ClusterInfo,
  deadlineLayer,
  type Engine,
  MeshError,
  type MeshErrorCode,
  type Service,
  type Transport,
} from "@trama/engine";
import type { XdsClient } from "@trama/xds";
import type { Dispatcher as UndiciDispatcher } from "undici";

import { currentContext, inherit } from "../context.ts";
import { Agent, Dispatcher, Dispatcher1Wrapper, dispatcherMethods } from "../undici-parts.ts";
import { Connector } from "./connector.ts";
import { type Destination, Destinations } from "./destination.ts";
import { HostLookup, type Standing } from "./host-lookup.ts";
import { type CallSource, OutboundCall } from "./outbound-call.ts";
import { ledConnections } from "./led-connections.ts";
import { blackHole, passThrough } from "./pass-through.ts";
import { ReplayBody } from "../transport/replay-body.ts";
import type { TcpTransport } from "../transport/tcp.ts";

export interface MeshDispatcherOptions extends CallSource {
  readonly transport: Transport & { readonly tcp: TcpTransport };
  readonly engine: Engine;
  /** Asks the control plane for a host that is not known here. */
  readonly discovery: Pick<XdsClient, "outbound">;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
}

/**
 * The mesh as an undici dispatcher. A request whose `host:port` the mesh knows becomes a call of the engine, whatever its scheme:
 * transport security is the mesh's business then. On an opaque port the connection is the mesh's, and what is in it is the application's: a request
 * goes as it is, with a TLS of its own where it is `https`, over a connection that the mesh leads. A host heard of for the first time is asked of the control plane once, while its
 * calls wait. One that the mesh does not know passes as it is, or is refused, by policy; and when nobody can say which it is, the
 * call fails: never plaintext by accident (dataplane.md §23 rule 6).
 */
export class MeshDispatcher extends Dispatcher {
  readonly #options: MeshDispatcherOptions;
  readonly #destinations = new Destinations();
  readonly #lookup: HostLookup;
  /** Connections of applications, and of requests to opaque ports. */
  readonly connector: Connector;
  readonly #plain = new Agent();
  readonly #led: Agent;
  readonly #outside: Service;
  readonly #opaque: Service;
  readonly #refused: Service;
  #closed = false;

  constructor(options: MeshDispatcherOptions) {
    super();
    this.#options = options;
    const { engine, transport, clock, outboundTrafficPolicy } = options;
    this.#lookup = new HostLookup(options);
    this.connector = new Connector({
      engine,
      clock,
      outboundTrafficPolicy,
      lookup: this.#lookup,
      transport: transport.tcp,
    });
    this.#led = new Agent({ connect: ledConnections(this.connector) });
    // An inherited deadline holds for strangers too; they are not told of it.
    this.#outside = engine.observe(deadlineLayer(undefined, options)(passThrough(this.#plain)));
    this.#opaque = engine.observe(deadlineLayer(undefined, options)(passThrough(this.#led)));
    this.#refused = engine.observe(blackHole);
  }

  /** Always true: what waits, waits in bounded queues below, and is refused past them. */
  override dispatch(options: UndiciDispatcher.DispatchOptions, handler: UndiciDispatcher.DispatchHandler): boolean {
    let destination: Destination | undefined;
    let malformed: unknown;
    try {
      destination = this.#destinations.of(options.origin);
    } catch (thrown) {
      malformed = thrown;
    }
    const outbound = new OutboundCall(repeatable(options), this.#options, destination, modern(handler));
    outbound.start();
    if (outbound.over) return true;
    if (destination === undefined) fail(outbound, "BAD_REQUEST", malformed);
    else if (this.#closed) fail(outbound, "CLOSED", new Error("the mesh is closed"));
    else {
      const standing = this.#lookup.of(destination.listener);
      if (standing === "mesh" && options.method === "CONNECT") fail(outbound, "BAD_REQUEST", new Error(noTunnel));
      else if (standing === "mesh") this.#send(outbound, destination);
      else if (standing === "opaque") this.#lead(outbound, destination);
      else if (destination.loopback) this.#start(outbound, this.#outside);
      else if (standing === "stranger") this.#stranger(outbound);
      else void this.#ask(outbound, destination);
    }
    return true;
  }

  /** What becomes of a request to this origin. Throws a TypeError for what is no http or https origin. */
  standing(origin: UndiciDispatcher.DispatchOptions["origin"]): Standing | "loopback" {
    const { listener, loopback } = this.#destinations.of(origin);
    const standing = this.#lookup.of(listener);
    return loopback && standing !== "mesh" && standing !== "opaque" ? "loopback" : standing;
  }

  /** Asks for an origin of which nobody knows yet. Never rejects. */
  ask(origin: UndiciDispatcher.DispatchOptions["origin"]): ReturnType<HostLookup["ask"]> {
    return this.#lookup.ask(this.#destinations.of(origin).listener);
  }

  /** Whether hosts that the mesh does not know are refused. */
  get refusesStrangers(): boolean {
    return this.#options.outboundTrafficPolicy === "REGISTRY_ONLY";
  }

  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    this.#closed = true;
    const closed = Promise.all([this.#plain.close(), this.#led.close()]).then(() => this.connector.close());
    return callback === undefined ? closed : void closed.finally(callback);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    this.#closed = true;
    const done = typeof error === "function" ? error : callback;
    const reason = typeof error === "function" ? null : (error ?? null);
    const destroyed = Promise.all([this.#plain.destroy(reason), this.#led.destroy(reason)]).then(() =>
      this.connector.close(),
    );
    return done === undefined ? destroyed : void destroyed.finally(done);
  }

  #send(outbound: OutboundCall, destination: Destination): void {
    const { engine } = this.#options;
    const call = this.#newCall(outbound);
    if (call !== undefined) engine.outbound(destination.listener, call, outbound);
  }

  /** Over a connection of the mesh; it is told as a call of the service behind it. */
  #lead(outbound: OutboundCall, { listener }: Destination): void {
    const call = this.#newCall(outbound);
    if (call === undefined) return;
    call.record.cluster = opaqueCluster(call, listener);
    this.#opaque(call, outbound);
  }

  #start(outbound: OutboundCall, service: Service): void {
    const call = this.#newCall(outbound);
    if (call !== undefined) service(call, outbound);
  }

  #stranger(outbound: OutboundCall): void {
    this.#start(outbound, this.#options.outboundTrafficPolicy === "ALLOW_ANY" ? this.#outside : this.#refused);
  }

  #newCall(outbound: OutboundCall): Call | undefined {
    try {
      const call = new Call(outbound);
      const { startMs } = call.record;
      inherit(call, currentContext(startMs), startMs);
      outbound.attach(call);
      return call;
    } catch (thrown) {
      fail(outbound, "BAD_REQUEST", thrown);
      return undefined;
    }
  }

  async #ask(outbound: OutboundCall, destination: Destination): Promise<void> {
    const answer = await this.#lookup.ask(destination.listener);
    if (outbound.over) return;
    if (answer instanceof MeshError) outbound.onError(answer);
    else if (this.#closed) fail(outbound, "CLOSED", new Error("the mesh is closed"));
    else if (answer === "mesh") this.#send(outbound, destination);
    else if (answer === "opaque") this.#lead(outbound, destination);
    else this.#stranger(outbound);
  }
}

// Also for an application that never loads undici's index.
Object.assign(MeshDispatcher.prototype, dispatcherMethods);

/** A connection may go elsewhere than the first that was made; of a request nobody knows on which it goes. */
function opaqueCluster({ snapshot: { config } }: Call, listener: string): ClusterInfo | undefined {
  const action = config.outbound.get(listener)?.routes.virtualHosts[0]?.routes[0]?.action;
  const name = action?.kind === "forward" ? action.clusters[0]!.name : undefined;
  return name === undefined ? undefined : { name, service: config.clusters.get(name)?.service };
}

const noTunnel = "CONNECT: the mesh leads requests to services and is no forward proxy";

/** fetch hands on every body as an iterable that can be read once; what it gave is kept for a retry, up to a limit. */
function repeatable(options: UndiciDispatcher.DispatchOptions): UndiciDispatcher.DispatchOptions {
  const body = options.body as unknown;
  if (typeof body !== "object" || body === null || body instanceof ReplayBody || "pipe" in body) return options;
  if (!(Symbol.asyncIterator in body)) return options;
  return { ...options, body: new ReplayBody(body as AsyncIterable<unknown>) as never };
}

/** Handlers of undici 7 and before, which Node's own fetch up to 24 brings along, know other events: calling none of them would be silence. */
function modern(handler: UndiciDispatcher.DispatchHandler): UndiciDispatcher.DispatchHandler {
  if (typeof handler.onRequestStart === "function") return handler;
  return (
    Dispatcher1Wrapper as unknown as { wrapHandler(handler: object): UndiciDispatcher.DispatchHandler }
  ).wrapHandler(handler);
}

/** Before there is a call to tell: nothing was sent. */
function fail(outbound: OutboundCall, code: MeshErrorCode, cause: unknown): void {
  outbound.onError(MeshError.from(cause, code));
}
