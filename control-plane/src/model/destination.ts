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
  readonly mode: "disable" | "mesh" | "server";
  readonly sni: string | undefined;
  /** Replace the names of the service's own accounts when there are any. */
  readonly subjectAltNames: readonly string[];
  /** Of mode `server`. */
  readonly server: ServerTls;
}

/** TLS with a server outside of the mesh. Files are the caller's own, in PEM. */
export interface ServerTls {
  /** What the caller shows; `undefined`: nothing. */
  readonly certificate: { readonly chainFile: string; readonly keyFile: string } | undefined;
  /** `system`: what the caller's machine trusts; `none`: the server is not verified. */
  readonly roots: "system" | "none" | { readonly file: string };
  readonly crlFile: string | undefined;
}

/** As any TLS client. */
export const systemTls: ServerTls = { certificate: undefined, roots: "system", crlFile: undefined };

export const noTraffic: TrafficPolicy = {
  balancer: undefined,
  pool: undefined,
  tls: undefined,
  retryBudget: undefined,
};
