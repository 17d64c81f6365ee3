import { Call, deadlineLayer, type Engine, MeshError, type MeshErrorCode, type Service } from "@trama/engine";
import type { XdsClient } from "@trama/xds";
import type { Dispatcher as UndiciDispatcher } from "undici";

import { currentContext, inherit } from "../context.ts";
import { Agent, Dispatcher, Dispatcher1Wrapper, dispatcherMethods } from "../undici-parts.ts";
import { type Destination, Destinations } from "./destination.ts";
import { HostLookup, type Standing } from "./host-lookup.ts";
import { type CallSource, OutboundCall } from "./outbound-call.ts";
import { blackHole, passThrough } from "./pass-through.ts";
import { ReplayBody } from "../transport/replay-body.ts";

export interface MeshDispatcherOptions extends CallSource {
  readonly engine: Engine;
  /** Asks the control plane for a host that is not known here. */
  readonly discovery: Pick<XdsClient, "outbound">;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
}

/**
 * The mesh as an undici dispatcher. A request whose `host:port` the mesh knows becomes a call of the engine, whatever its scheme:
 * transport security is the mesh's business then. A host heard of for the first time is asked of the control plane once, while its
 * calls wait. One that the mesh does not know passes as it is, or is refused, by policy; and when nobody can say which it is, the
 * call fails: never plaintext by accident (dataplane.md §23 rule 6).
 */
export class MeshDispatcher extends Dispatcher {
  readonly #options: MeshDispatcherOptions;
  readonly #destinations = new Destinations();
  readonly #lookup: HostLookup;
  readonly #plain = new Agent();
  readonly #outside: Service;
  readonly #refused: Service;
  #closed = false;

  constructor(options: MeshDispatcherOptions) {
    super();
    this.#options = options;
    this.#lookup = new HostLookup(options);
    // An inherited deadline holds for strangers too; they are not told of it.
    this.#outside = options.engine.observe(deadlineLayer(undefined, options)(passThrough(this.#plain)));
    this.#refused = options.engine.observe(blackHole);
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
    return loopback && standing !== "mesh" ? "loopback" : standing;
  }

  /** Asks for an origin of which nobody knows yet. Never rejects. */
  ask(origin: UndiciDispatcher.DispatchOptions["origin"]): Promise<"mesh" | "stranger" | MeshError> {
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
    return callback === undefined ? this.#plain.close() : this.#plain.close(callback);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    this.#closed = true;
    if (typeof error === "function") return this.#plain.destroy(error);
    return callback === undefined ? this.#plain.destroy(error ?? null) : this.#plain.destroy(error ?? null, callback);
  }

  #send(outbound: OutboundCall, destination: Destination): void {
    const { engine } = this.#options;
    const call = this.#newCall(outbound);
    if (call !== undefined) engine.outbound(destination.listener, call, outbound);
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
    else this.#stranger(outbound);
  }
}

// Also for an application that never loads undici's index.
Object.assign(MeshDispatcher.prototype, dispatcherMethods);

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
