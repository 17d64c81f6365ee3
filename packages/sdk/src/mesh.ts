import type { Clock, Engine, MeshMetrics } from "@trama/engine";
import type { IdentitySource, XdsClient } from "@trama/xds";
import type { Server } from "node:http";
import type { Server as NetServer, Socket } from "node:net";
import type { Http2Server } from "node:http2";
import type { Registry } from "prom-client";
import type { Dispatcher } from "undici";

import type { ConnectOptions } from "./adapters/connector.ts";
import { ProtectedServer } from "./adapters/http-server.ts";
import { isHttp2Server, ProtectedHttp2Server } from "./adapters/http2-server.ts";
import { type InterceptorOptions, meshInterceptor } from "./adapters/interceptor.ts";
import { meshFetch } from "./adapters/mesh-fetch.ts";
import { isConnectionServer, ProtectedTcpServer } from "./adapters/tcp-server.ts";
import type { MeshDispatcher } from "./adapters/undici.ts";
import type { DnsClusters } from "./dns.ts";
import { TramaError } from "./errors.ts";
import type { CloseOptions, Mesh, MeshStatus, ServerStatus } from "./mesh-types.ts";
import { type GuardedServer, internals, type MeshInternals } from "./internals.ts";
import { createRegistry } from "./metrics.ts";
import type { Settings } from "./settings.ts";
import type { UndiciTransport } from "./transport/undici.ts";

/** Everything a membership holds; made by `join`. */
export interface MeshParts {
  readonly settings: Settings;
  readonly clock: Clock & { close(): void };
  readonly engine: Engine;
  readonly metrics: MeshMetrics;
  readonly identity: IdentitySource;
  readonly xds: XdsClient;
  readonly dns: DnsClusters;
  readonly transport: UndiciTransport;
  readonly dispatcher: MeshDispatcher;
  readonly random: () => number;
  /** Gives the process's one place in the mesh free. */
  readonly release: () => void;
}

const defaultDeadlineMs = 30_000;
/** How long open connections are served after the port was closed: more than a request needs to arrive. A part of `drainMs`. */
const maxLingerMs = 1_000;

export class JoinedMesh implements Mesh {
  readonly fetch: typeof globalThis.fetch;
  readonly dispatcher: MeshDispatcher;
  readonly #parts: MeshParts;
  readonly #servers = new Map<object, GuardedServer>();
  readonly #closers: ((deadlineMs: number) => Promise<void>)[] = [];
  /** Who waits in `ready()`, or tells others of it; told whenever something changed. */
  readonly #waiting = new Set<() => void>();
  #registry: Promise<Registry> | undefined;
  #closing: Promise<void> | undefined;
  #state: MeshStatus["state"] = "open";

  constructor(parts: MeshParts) {
    this.#parts = parts;
    this.dispatcher = parts.dispatcher;
    this.fetch = meshFetch(parts.dispatcher);
    internals.set(this, this.#internals());
  }

  /** Configuration or identity changed. */
  refresh(): void {
    for (const { listener } of this.#servers.values()) listener.refresh();
    this.#changed();
  }

  connect(options: ConnectOptions): Promise<Socket> {
    return this.dispatcher.connector.connect(options);
  }

  protect<S extends Server | Http2Server | NetServer>(server: S): S {
    if (this.#state !== "open") throw new TramaError("CLOSED", "protect() on a mesh that is closed");
    if (this.#servers.has(server)) return server;
    const { engine, identity, xds, clock, settings } = this.#parts;
    const options = {
      engine,
      identity,
      discovery: xds,
      clock,
      log: settings.log,
      onState: () => this.#changed(),
    };
    const guard = isHttp2Server(server)
      ? new ProtectedHttp2Server(server, options)
      : isConnectionServer(server)
        ? new ProtectedTcpServer(server, options)
        : new ProtectedServer(server as Server, options);
    this.#servers.set(server, guard);
    server.on("close", () => this.#servers.delete(server));
    return server;
  }

  interceptor(options: InterceptorOptions = {}): Dispatcher.DispatcherComposeInterceptor {
    return meshInterceptor(this.dispatcher, options);
  }

  /** For adapters that are loaded only where they are used. */
  #internals(): MeshInternals {
    const { engine, identity, xds, clock, settings, random, transport } = this.#parts;
    const isOpen = (): boolean => this.#state === "open";
    const isReady = (): boolean => isOpen() && this.#missing().length === 0;
    return {
      engine,
      identity,
      discovery: xds,
      dispatcher: this.dispatcher,
      http2: transport.http2,
      clock,
      random,
      log: settings.log,
      outboundTrafficPolicy: settings.outboundTrafficPolicy,
      get open() {
        return isOpen();
      },
      get ready() {
        return isReady();
      },
      changed: () => this.#changed(),
      onChange: (changed) => void this.#waiting.add(changed),
      guard: (server) => {
        this.#servers.set(server, server);
        return () => this.#servers.delete(server);
      },
      guardOf: (server) => {
        const guard = this.#servers.get(server);
        return guard instanceof ProtectedServer ? guard : undefined;
      },
      onClose: (close) => void this.#closers.push(close),
    };
  }

  ready(): Promise<void> {
    const { clock, settings } = this.#parts;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (this.#state !== "open") end(new TramaError("CLOSED", "the mesh was closed before its servers were ready"));
      else if (this.#missing().length === 0) end();
    };
    const end = (error?: TramaError): void => {
      timer.cancel();
      clearInterval(hold);
      this.#waiting.delete(look);
      if (error === undefined) resolve();
      else reject(error);
    };
    const timer = clock.after(settings.joinTimeoutMs, () =>
      end(new TramaError("NOT_READY", `not ready after ${settings.joinTimeoutMs} ms: ${this.#missing().join("; ")}`)),
    );
    const hold = setInterval(look, 1_000);
    this.#waiting.add(look);
    look();
    return promise;
  }

  /** What servers still wait for. */
  #missing(): string[] {
    return [...this.#servers.values()].flatMap(({ listens, listener: { waitingFor, address } }) =>
      listens && waitingFor !== undefined ? [`${address || "a server"} waits for ${waitingFor}`] : [],
    );
  }

  async metricsText(): Promise<string> {
    return (await this.register()).metrics();
  }

  register(): Promise<Registry> {
    return (this.#registry ??= createRegistry(() => this.#parts.metrics.collect()));
  }

  status(): MeshStatus {
    const { identity, xds, engine } = this.#parts;
    const { current } = identity;
    const { connected, server, lastError, resources } = xds.status();
    return {
      identity: current && {
        spiffeId: current.spiffeId,
        notBefore: new Date(current.notBeforeMs).toISOString(),
        notAfter: new Date(current.notAfterMs).toISOString(),
        epoch: current.epoch,
        lastError: identity.lastError?.message,
      },
      controlPlane: { server, connected, lastError: lastError?.message },
      configVersion: engine.current.version,
      resources: resources.map(({ type, name, state, version, failed }) => ({
        type,
        name,
        state,
        version,
        error: failed?.message,
      })),
      servers: [...this.#servers.values()].map(statusOf),
      state: this.#state,
    };
  }

  close(options: CloseOptions = {}): Promise<void> {
    return (this.#closing ??= this.#close(options.deadlineMs ?? defaultDeadlineMs));
  }

  closeOnSignals(options: CloseOptions = {}): () => void {
    const signals = ["SIGTERM", "SIGINT"] as const;
    const undo = (): void => {
      for (const signal of signals) process.removeListener(signal, onSignal);
    };
    const onSignal = (signal: NodeJS.Signals): void => {
      const again = (): never => process.exit(signal === "SIGINT" ? 130 : 143);
      undo();
      // The second signal means it.
      for (const one of signals) process.on(one, again);
      void this.close(options).finally(() => {
        for (const one of signals) process.removeListener(one, again);
        if (process.listenerCount(signal) === 0) process.exit();
      });
    };
    for (const signal of signals) process.on(signal, onSignal);
    return undo;
  }

  /**
   * In this order, each step for its reason (dataplane.md §22): servers say good-bye while they still serve, for clients with idle
   * connections must learn of it · they accept nothing more and finish what is under way · only then outbound, which handlers needed
   * until their last answer · the control plane and the identity last, for all of the above needed them.
   */
  async #close(deadlineMs: number): Promise<void> {
    const { clock, engine, transport, dispatcher, xds, dns, identity, release, settings } = this.#parts;
    const endMs = clock.now() + deadlineMs;
    const leftMs = (): number => Math.max(0, endMs - clock.now());
    const hold = setInterval(() => {}, 60_000);
    this.#state = "draining";
    this.#changed();
    const servers = [...this.#servers.values()].filter(({ listener }) => listener.listening);
    for (const server of servers) server.drain();
    const drainMs = Math.min(settings.drainMs, deadlineMs / 2);
    const lingerMs = Math.min(maxLingerMs, drainMs / 2);
    if (servers.length > 0) await new Promise<void>((resolve) => clock.after(drainMs - lingerMs, resolve));
    await Promise.all(servers.map((server) => server.stop(leftMs(), lingerMs)));
    await engine.close(leftMs());
    await dispatcher.destroy();
    await Promise.all([transport.close(leftMs()), ...this.#closers.map((close) => close(leftMs()))]);
    await xds.close();
    dns.close();
    identity.close();
    clock.close();
    release();
    clearInterval(hold);
    this.#state = "closed";
  }

  #changed(): void {
    for (const look of this.#waiting) look();
  }
}

function statusOf({ listener, requestsInFlight }: GuardedServer): ServerStatus {
  const { address, waitingFor, connections } = listener;
  return { address, ready: waitingFor === undefined, waitingFor, connections: connections.size, requestsInFlight };
}
