import type { Server } from "node:http";
import type { Server as NetServer, Socket } from "node:net";
import type { Http2Server } from "node:http2";
import type { Registry } from "prom-client";
import type { Dispatcher } from "undici";

import type { ConnectOptions } from "./adapters/connector.ts";
import type { InterceptorOptions } from "./adapters/interceptor.ts";

/** A process's membership in the mesh; made by `joinMesh()`. */
export interface Mesh {
  /** Node's `fetch` through the mesh: the same function, the same classes. */
  readonly fetch: typeof globalThis.fetch;
  /**
   * The mesh as an undici dispatcher: per call (`request(url, { dispatcher: mesh.dispatcher })`), or for the whole
   * process (`setGlobalDispatcher(mesh.dispatcher)`, which also catches Node's built-in fetch).
   */
  readonly dispatcher: Dispatcher;
  /**
   * For an undici `Agent` or `Pool` of the application's own: `new Agent().compose(mesh.interceptor())`. Requests to hosts of the mesh go into
   * it, all others to the dispatcher that it is composed with. A `Pool` or `Client` does not say where its requests go, so
   * `origin` must be given: `new Pool(url).compose(mesh.interceptor({ origin: url }))`.
   */
  interceptor(options?: InterceptorOptions): Dispatcher.DispatcherComposeInterceptor;
  /**
   * A connection to an opaque port (`protocol: TCP` or `TLS`), for a driver or a protocol of the application's own: led by the rules of VirtualService
   * `tls` and `tcp`, balanced, with the mesh's mutual TLS around it where policy has it, and counted (`istio_tcp_…`). Resolves with Node's own
   * socket, connected. Hosts that the mesh does not know are connected to as they are, or refused, by `outboundTrafficPolicy`.
   * Rejects with a `MeshError`, or with the reason of the signal. It ends with the mesh at the latest.
   */
  connect(options: ConnectOptions): Promise<Socket>;
  /**
   * Makes a server that does not listen yet a mesh server on the same port: mTLS and, where policy permits, plaintext;
   * authorization before any handler. It takes an `http.Server`, which then speaks HTTP/2 as well, a server of `http2.createServer`, or one of
   * `net.createServer` for an opaque port, whose `connection` listeners get the decrypted sockets of those who may come in.
   * Returns it. Idempotent.
   */
  protect<S extends Server | Http2Server | NetServer>(server: S): S;
  /**
   * Resolves when every protected server whose `listen()` was called can serve: it is bound, configured, and the identity is there.
   * Rejects with `NOT_READY`, and what it waited for, after `joinTimeoutMs`.
   */
  ready(): Promise<void>;
  /** Prometheus text of the mesh's own metrics. */
  metricsText(): Promise<string>;
  /** A prom-client registry that holds the mesh's metrics, to merge with the application's. */
  register(): Promise<Registry>;
  /** What the mesh knows and how it stands, as plain JSON. */
  status(): MeshStatus;
  /** Drains and closes, servers first and outbound last; resolves when all is closed. Idempotent. */
  close(options?: CloseOptions): Promise<void>;
  /**
   * Closes the mesh on SIGTERM or SIGINT, and then ends the process, unless the application listens for that signal too: then ending is
   * its own affair. A second signal ends the process at once. Returns an undo. Nothing listens for signals without this call.
   */
  closeOnSignals(options?: CloseOptions): () => void;
}

export interface CloseOptions {
  /** Latest end of the whole close, calls in flight included; what is left is cut. Default 30,000. */
  readonly deadlineMs?: number | undefined;
}

export interface MeshStatus {
  readonly identity: IdentityStatus | undefined;
  readonly controlPlane: {
    readonly server: string;
    readonly connected: boolean;
    /** Why the last stream ended, as text. */
    readonly lastError: string | undefined;
  };
  /** Of the configuration in use; grows by one with each change. */
  readonly configVersion: number;
  readonly resources: readonly {
    readonly type: string;
    readonly name: string;
    readonly state: string;
    readonly version: string;
    /** Why the newest version was refused. */
    readonly error: string | undefined;
  }[];
  readonly servers: readonly ServerStatus[];
  readonly state: "open" | "draining" | "closed";
}

export interface IdentityStatus {
  readonly spiffeId: string;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** Grows by one with each renewal. */
  readonly epoch: number;
  /** Why the last renewal failed; `undefined` when it worked. */
  readonly lastError: string | undefined;
}

export interface ServerStatus {
  /** `ip:port`, or empty text before it listens. */
  readonly address: string;
  readonly ready: boolean;
  /** Why it is not ready; `undefined` when it is. */
  readonly waitingFor: string | undefined;
  readonly connections: number;
  readonly requestsInFlight: number;
}
