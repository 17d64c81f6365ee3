import type { Clock, Logger, MeshConfig, Regex } from "@trama/engine";

import type { Bootstrap } from "./bootstrap.ts";
import type { XdsStatus } from "./status.ts";
import type { StreamTransport } from "./stream/transport.ts";

export interface XdsClientOptions {
  readonly bootstrap: Bootstrap;
  /** How streams are opened: `grpcTransport(...)`, or a fake in tests. */
  readonly transport: StreamTransport;
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
  /** How long a name may stay unanswered on a standing stream before it counts as missing (R10). Default 15,000. */
  readonly doesNotExistTimeoutMs?: number | undefined;
  /** How long `outbound` and `inbound` wait for a first answer. Default 20,000. */
  readonly waitTimeoutMs?: number | undefined;
  /** Names held on demand; past it the least recently asked one is released. Default 10,000. */
  readonly maxNames?: number | undefined;
}

export interface XdsClient {
  /** Opens the stream. Idempotent. */
  start(): void;
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
