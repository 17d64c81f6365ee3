import type { Peer } from "./call.ts";
import type { FilterChain, InboundListener, MeshConfig } from "./config.ts";
import type { Service } from "./service.ts";

/**
 * One configuration, compiled: matchers are predicates, filter chains are composed services, pickers are built.
 * Immutable and whole; published by one assignment. `compile()` makes it and reuses by identity what did not change.
 */
export interface Snapshot {
  /** Grows by one with each publish; for logs and tests. */
  readonly version: number;
  readonly config: MeshConfig;
  /** The service of an outbound listener (`host:port`, lower case), or `undefined`: the host is unknown here. */
  outbound(listener: string): Service | undefined;
  /** The same for connections (calls of protocol `tcp`): only an opaque listener has it, and that is no HTTP service then. */
  opaque(listener: string): Service | undefined;
  /** The compiled inbound listener of a bound `ip:port`. */
  inbound(listener: string): InboundSnapshot | undefined;
}

export interface InboundSnapshot {
  readonly config: InboundListener;
  /** The chain that takes a connection, by R61; `undefined`: close it. */
  chain(connection: ConnectionFacts): InboundChain | undefined;
}

/** What is known of a connection before a byte of it was interpreted. Addresses are normalised (R55). */
export interface ConnectionFacts {
  readonly transportProtocol: "tls" | "raw_buffer";
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
}

export interface InboundChain {
  readonly config: FilterChain;
  /** Telemetry, then the filters, then the route, then `handler`. Composed per chain; only the handler differs. */
  serve(handler: Service): Service;
  /** Whether the peer may keep its connection at all. On an opaque port that is the whole of authorization, so it includes the filters'. */
  admits(peer: Peer): boolean;
}
