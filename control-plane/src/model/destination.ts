import type { Visibility } from "./visibility.ts";

/** How a destination is called once a route has chosen it. */
export interface DestinationPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Full; a wildcard is possible. */
  readonly host: string;
  readonly visible: Visibility;
  readonly traffic: TrafficPolicy;
  readonly subsets: readonly Subset[];
}

export interface Subset {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Whole blocks of it replace those of the destination. */
  readonly traffic: TrafficPolicy;
}

/** `undefined` blocks: the default. */
export interface TrafficPolicy {
  readonly balancer: "least_request" | "round_robin" | "random" | undefined;
  readonly pool: ConnectionPool | undefined;
  readonly tls: DestinationTls | undefined;
  readonly retryBudget: { readonly percent: number; readonly minConcurrency: number } | undefined;
}

export interface ConnectionPool {
  readonly connectTimeoutMs: number | undefined;
  readonly maxConnections: number | undefined;
  readonly maxPending: number | undefined;
  readonly maxRequests: number | undefined;
  readonly maxRetries: number | undefined;
  /** How long a connection without a request stays; 0 = for ever, `undefined` = the client's own default. */
  readonly idleTimeoutMs: number | undefined;
  readonly maxConnectionDurationMs: number | undefined;
  readonly maxRequestsPerConnection: number | undefined;
  /** Streams at once on one HTTP/2 connection. */
  readonly maxStreams: number | undefined;
  readonly http2KeepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
  /** How long a connection is silent before TCP asks whether the peer is there. */
  readonly tcpKeepAliveMs: number | undefined;
  /** Which protocol a port is called over: as its own says, HTTP/2 in any case, or as the caller came. */
  readonly protocol: "port" | "http2" | "client";
}

export interface DestinationTls {
  readonly mode: "disable" | "mesh";
  readonly sni: string | undefined;
  /** Replace the names of the service's own accounts when there are any. */
  readonly subjectAltNames: readonly string[];
}

export const noTraffic: TrafficPolicy = {
  balancer: undefined,
  pool: undefined,
  tls: undefined,
  retryBudget: undefined,
};
