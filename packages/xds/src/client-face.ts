import type { Clock, Logger, MeshConfig, Regex } from "@trama/engine";

import type { Bootstrap, XdsServer } from "./bootstrap.ts";
import type { LastGoodOptions } from "./last-good.ts";
import type { XdsStatus } from "./status.ts";
import type { StreamTransport } from "./stream/transport.ts";

export interface XdsClientOptions {
  readonly bootstrap: Bootstrap;
  /**
   * How streams to a server of the bootstrap are opened: `createGrpcTransport`, or a fake in tests. A transport instead of a
   * function is that of the first server; the others are not used then.
   */
  readonly transport: StreamTransport | ((server: XdsServer) => StreamTransport);
  readonly clock: Clock;
  /** Uniform in [0, 1): jitter of reconnects. */
  readonly random: () => number;
  readonly log: Logger;
  /** Compiles a policy regex and throws when it is not RE2: a resource that holds a bad one is refused (R29). */
  readonly regex: (pattern: string) => Regex;
  /**
   * Is given each new configuration, at most one for each response. The response is acknowledged, and the next one read, when
   * this returns, or when the promise it returned has settled (R25). What it throws is logged and changes nothing.
   */
  readonly onConfig: (config: MeshConfig) => void | Promise<void>;
  /** Called when connection or resources changed, at most once for each event. */
  readonly onStatus?: ((status: XdsStatus) => void) | undefined;
  /**
   * `delta` (default): the server sends what changed; from one that knows no delta (UNIMPLEMENTED) the state of the world is taken
   * instead, for as long as this client lives. `sotw`: the state of the world from the start.
   */
  readonly variant?: "delta" | "sotw" | undefined;
  /**
   * Keeps what is in force outside of the process, so that one can start while the control plane is away; see
   * {@link XdsClient.restore}. Default: nothing is kept.
   */
  readonly lastGood?: LastGoodOptions | undefined;
  /** Delays between streams; the defaults suit everything but tests. */
  readonly backoff?: { readonly baseMs?: number | undefined; readonly maxMs?: number | undefined } | undefined;
  /** How long a name may stay unanswered on a standing stream before it counts as missing (R10). Default 15,000. */
  readonly doesNotExistTimeoutMs?: number | undefined;
  /** How long `outbound` and `inbound` wait for a first answer. Default 20,000. */
  readonly waitTimeoutMs?: number | undefined;
  /** Lets the event loop take one turn; a large resource is decoded in several. Default: as soon as the clock has one. */
  readonly nextTurn?: (() => Promise<void>) | undefined;
  /** Names held on demand; past it the least recently asked one is released. Default 10,000. */
  readonly maxNames?: number | undefined;
}

export interface XdsClient {
  /** Opens the stream. Idempotent. */
  start(): void;
  /**
   * Reads what an earlier process kept by `lastGood`. Called once, when our identity is known. True: there is something, and names are
   * answered from it for as long as no control plane is there to ask. Never rejects: what cannot be used is a warning.
   */
  restore(): Promise<boolean>;
  /**
   * Asks for an outbound listener (`reviews:9080`). Idempotent: each name is subscribed once, until `release`. Resolves
   * when the published config holds it, or the server said that it does not exist; rejects with an XdsError when nothing
   * is known in time. The subscription stays either way: what comes later is published.
   */
  outbound(name: string): Promise<"found" | "missing">;
  /** The same for the inbound listener of a bound `ip:port`. */
  inbound(address: string): Promise<"found" | "missing">;
  /** Ends the subscription of an outbound name. */
  release(name: string): void;
  /** The last published configuration; empty maps at first. */
  readonly config: MeshConfig;
  status(): XdsStatus;
  /** Ends the stream; pending waits are rejected with `CLOSED`. The configuration stays readable. Idempotent. */
  close(): Promise<void>;
}
