import type { Balancer } from "./balancer.ts";
import type { Visibility } from "./visibility.ts";

/** How a destination is called once a route has chosen it. */
export interface DestinationPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Full; a wildcard is possible. */
  readonly host: string;
  readonly visible: Visibility;
  /** Labels of the calling workloads of its namespace that it is for; empty: all. */
  readonly selector: Readonly<Record<string, string>>;
  readonly traffic: TrafficPolicy;
  readonly subsets: readonly Subset[];
  /** Whether one request tries an ejected endpoint before it gets its share again. */
  readonly probing: boolean;
}

export interface Subset {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Whole blocks of it replace those of the destination. */
  readonly traffic: TrafficPolicy;
}

/** `undefined` blocks: the default. */
export interface TrafficPolicy {
  readonly balancer: Balancer | undefined;
  readonly pool: ConnectionPool | undefined;
  readonly tls: DestinationTls | undefined;
  readonly retryBudget: { readonly percent: number; readonly minConcurrency: number } | undefined;
  /** What holds for single ports, in place of all blocks but the retry budget. */
  readonly ports: ReadonlyMap<number, PortTraffic>;
  readonly outlier: OutlierPolicy | undefined;
  /** Goes with `balancer`; `undefined`: the mesh's default, which is the nearest first. */
  readonly locality: LocalityPolicy | undefined;
}

/** Blocks that are not there are the defaults, whatever is said for the whole host (istio-api §3.1). */
export type PortTraffic = Omit<TrafficPolicy, "retryBudget" | "ports">;

/** When an endpoint is left out for a while. A count of 0 is never reached. */
export interface OutlierPolicy {
  readonly consecutive5xx: number;
  readonly consecutiveGateway: number;
  /** Failures of the caller's own side are counted apart. */
  readonly splitLocal: boolean;
  readonly consecutiveLocal: number;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
  /** With fewer healthy, percent, all are used; 0 = never. */
  readonly minHealthPercent: number;
  /** Sorted; empty: 500 … 599. */
  readonly errorStatuses: readonly number[];
}

/** Where calls go, by where the caller is. Patterns are `region/zone/subzone`, cut short or with `*` for any. */
export interface LocalityPolicy {
  /** Whether there is fail-over. */
  readonly enabled: boolean;
  /** The first that fits the caller: shares in percent; who is not named gets nothing. */
  readonly distribute: readonly { readonly from: string; readonly to: readonly (readonly [string, number])[] }[];
  /** Which region stands in for which, before all others. */
  readonly failover: readonly { readonly from: string; readonly to: string }[];
  /** Labels, `key` as the caller has it or `key=value`: who shares the first n comes before who shares fewer. */
  readonly failoverPriority: readonly string[];
  /**
   * Calls stay in the caller's zone as far as it can hold them, and in its region in any case. `undefined`: zones are as near as any
   * other place.
   */
  readonly zoneAware: { readonly minClusterSize: number } | undefined;
}

export interface ConnectionPool {
  readonly connectTimeoutMs: number | undefined;
  readonly maxConnections: number | undefined;
  readonly maxPending: number | undefined;
  readonly maxRequests: number | undefined;
  readonly maxRetries: number | undefined;
  /** How long a connection without a request stays; 0 = for ever, `undefined` = the client's own default. */
  readonly idleTimeoutMs: number | undefined;
  /** How long a connection that is passed on as it is may be silent; 0 = for ever, `undefined` = an hour. */
  readonly silenceMs: number | undefined;
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
  outlier: undefined,
  locality: undefined,
  ports: new Map(),
};

/**
 * What holds for one port of a host, or of a subset: the host's blocks, or the port's in place of all of them; over that
 * the subset's, each as a whole; and over that again the subset's own for the port. As Istio merges them.
 */
export function effectiveTraffic(
  policy: DestinationPolicy | undefined,
  subset: string,
  port: number,
): Omit<TrafficPolicy, "ports"> {
  const base = policy?.traffic ?? noTraffic;
  const merged = { ...base, ...base.ports.get(port) };
  const own = policy?.subsets.find(({ name }) => name === subset)?.traffic;
  if (own === undefined) return merged;
  return {
    balancer: own.balancer ?? merged.balancer,
    pool: own.pool ?? merged.pool,
    tls: own.tls ?? merged.tls,
    retryBudget: own.retryBudget ?? merged.retryBudget,
    outlier: own.outlier ?? merged.outlier,
    // Goes with the balancer: parts of one block.
    locality: own.balancer === undefined ? merged.locality : own.locality,
    ...own.ports.get(port),
  };
}
