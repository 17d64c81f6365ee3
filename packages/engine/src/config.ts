import type { BalancerConfig, HashPolicy } from "./config-balancing.ts";
import type { HealthCheckConfig, OutlierConfig } from "./config-health.ts";
import type { HeaderMatch, PathMatch, QueryMatch, StringMatch } from "./config-match.ts";
import type { CorsConfig, HeaderOperations, MirrorPolicy, RedirectAction, Rewrite } from "./config-mutation.ts";
import type { HedgePolicy, RetryPolicy } from "./config-retry.ts";

export type * from "./config-balancing.ts";
export type * from "./config-health.ts";
export type * from "./config-match.ts";
export type * from "./config-retry.ts";

/**
 * MeshConfig: everything the engine is told, as plain readonly data. `@trama/xds` makes it out of xDS resources;
 * nothing here knows protobuf. Two values that came from the same bytes are the same object, so that `compile`
 * can keep what it built before (identity decides, R14).
 *
 * Names follow xDS: listener, route configuration, virtual host, route, cluster, endpoint, locality.
 * Durations are milliseconds; fractions are parts of a million.
 */
export interface MeshConfig {
  /** Outbound listeners by the name asked for: `reviews:9080`, `reviews.shop.svc.cluster.local:9080`. */
  readonly outbound: ReadonlyMap<string, OutboundListener>;
  /** Inbound listeners by `ip:port` as bound. */
  readonly inbound: ReadonlyMap<string, InboundListener>;
  /** Every cluster that a route of the above names, endpoints included. A name that is missing here answers NO_CLUSTER. */
  readonly clusters: ReadonlyMap<string, ClusterConfig>;
}

// ── listeners ────────────────────────────────────────────────────────────────────────────────────────────────────

export interface OutboundListener {
  readonly name: string;
  /** In xDS order; the router, which is always last on the wire, is not listed. */
  readonly filters: readonly FilterConfig[];
  readonly routes: RouteConfiguration;
  /**
   * Its port is opaque: connections are led by it, and nothing in them is read. A connection is then a call of protocol `tcp`, whose
   * authority is the server name that the application asks for, so `domains` are server names; empty text where it asks for none.
   */
  readonly opaque?: boolean | undefined;
}

export interface InboundListener {
  /** `ip:port` as bound. */
  readonly name: string;
  /** Tried by the rules of R61; the first most specific one takes the connection. */
  readonly chains: readonly FilterChain[];
  readonly defaultChain: FilterChain | undefined;
  /** What the mesh knows of the service behind this port, for telemetry. */
  readonly service: ServiceInfo | undefined;
  /** Absent: none. */
  readonly limits?: InboundLimits | undefined;
}

/**
 * How much of one port this process takes at once: what the breaker of a sidecar's inbound cluster bounds (Istio
 * `Sidecar.inboundConnectionPool`). `undefined`: any number.
 */
export interface InboundLimits {
  /** Connections that were accepted; one more is closed at once. At least 1 (`max_connections`). */
  readonly maxConnections: number | undefined;
  /** Requests at the application; one more is answered 503 with flag `UO`. At least 1 (`max_requests`). */
  readonly maxRequests: number | undefined;
}

export interface FilterChain {
  readonly name: string;
  readonly match: FilterChainMatch;
  /** Absent: this chain takes plaintext connections. */
  readonly tls: DownstreamTls | undefined;
  readonly filters: readonly FilterConfig[];
  readonly routes: RouteConfiguration;
  /** It takes connections whatever is in them: its filters look at the peer and nothing else. */
  readonly opaque?: boolean | undefined;
}

export interface FilterChainMatch {
  /** `tls`, `raw_buffer`, or `undefined` for both. */
  readonly transportProtocol: "tls" | "raw_buffer" | undefined;
  readonly destinationPrefixes: readonly Cidr[];
  readonly sourceType: "any" | "same_ip_or_loopback" | "external";
  readonly sourcePrefixes: readonly Cidr[];
  readonly sourcePorts: readonly number[];
}

export interface Cidr {
  /** Canonical text of the address; IPv4-mapped IPv6 is already IPv4 (R55). */
  readonly address: string;
  readonly bits: number;
}

export interface DownstreamTls {
  /** Certificate provider instance of the own certificate. */
  readonly identity: string;
  /** Certificate provider instance of the roots; absent: no client certificate is asked for. */
  readonly trust: string | undefined;
  readonly requireClientCertificate: boolean;
  /** Accepted client names; empty = any that the roots vouch for. */
  readonly subjectNames: readonly StringMatch[];
}

// ── routes ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface RouteConfiguration {
  readonly name: string;
  readonly virtualHosts: readonly VirtualHost[];
  /** Virtual hosts are looked up by the host without its port (`ignore_port_in_host_matching`). Default: with it (R28). */
  readonly ignorePort?: boolean | undefined;
  readonly headers?: HeaderOperations | undefined;
  /**
   * Header operations run from this level down to the route's, so that the most specific has the last word
   * (`most_specific_header_mutations_wins`). Default: the other way round. Those of a weighted cluster are always first.
   */
  readonly mostSpecificHeadersLast?: boolean | undefined;
}

export interface VirtualHost {
  readonly name: string;
  /** Exact, `*suffix`, `prefix*` or `*`; lower case; a port is part of the name (R28). */
  readonly domains: readonly string[];
  readonly routes: readonly RouteConfig[];
  readonly retry: RetryPolicy | undefined;
  readonly hedge?: HedgePolicy | undefined;
  /**
   * `x-envoy-attempt-count` for the peer (`include_request_attempt_count`) and for the caller (`include_attempt_count_in_response`).
   * Without it peers hear of second and later attempts only.
   */
  readonly attemptCount?: { readonly request: boolean; readonly response: boolean } | undefined;
  readonly overrides: FilterOverrides;
  readonly headers?: HeaderOperations | undefined;
}

export interface RouteConfig {
  /** Empty text when the configuration gave none. */
  readonly name: string;
  readonly match: RouteMatch;
  readonly action: RouteAction;
  readonly overrides: FilterOverrides;
  /** Of a direct answer only those of the response count. */
  readonly headers?: HeaderOperations | undefined;
}

export interface RouteMatch {
  readonly path: PathMatch;
  readonly headers: readonly HeaderMatch[];
  /** Never matches for gRPC when not empty (R30). */
  readonly query: readonly QueryMatch[];
  /** Share of requests that may match, rolled per request; `undefined` = all (R32). */
  readonly fractionPerMillion: number | undefined;
}

export type RouteAction =
  | ForwardAction
  | RedirectAction
  | { readonly kind: "direct"; readonly status: number; readonly body: Uint8Array | undefined }
  /** Inbound: the application's own handler answers. */
  | { readonly kind: "non_forwarding" };

export interface ForwardAction {
  readonly kind: "forward";
  /** One entry for a plain cluster. The sum of weights is at least 1; 0 among several is legal (R35). */
  readonly clusters: readonly WeightedCluster[];
  /** Whole call with retries; `undefined` = none. The decoder has already applied R37's defaults. */
  readonly timeoutMs: number | undefined;
  /** The same for gRPC, which does not read `timeout` (R37); `undefined` = none. */
  readonly grpcTimeoutMs?: number | undefined;
  /** The longest silence of a call, ≥ 1; `undefined` = any (`idle_timeout`). */
  readonly idleTimeoutMs?: number | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly hedge?: HedgePolicy | undefined;
  readonly rewrite?: Rewrite | undefined;
  /** What a hashing balancer goes by (R46); empty or absent: nothing, and it picks at random. */
  readonly hash?: readonly HashPolicy[] | undefined;
  readonly mirrors?: readonly MirrorPolicy[] | undefined;
}

export interface WeightedCluster {
  readonly name: string;
  readonly weight: number;
  readonly overrides: FilterOverrides;
  readonly headers?: HeaderOperations | undefined;
  /** Host that is sent to this cluster (`host_rewrite_literal` of the weighted cluster); the action's own comes after it. */
  readonly authority?: string | undefined;
}

// ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface FilterConfig {
  /** Instance name: overrides are keyed by it (R33). */
  readonly name: string;
  readonly config: FilterKind;
  /** `FilterConfig.disabled` of the listener: only an override switches it on. */
  readonly disabled: boolean;
}

/** Per-route configuration by filter instance name; `"off"` disables the filter there. */
export type FilterOverrides = ReadonlyMap<string, FilterKind | "off">;

export type FilterKind = FaultConfig | RbacConfig | CorsConfig;

/**
 * The request itself says by `x-envoy-fault-…` fields what is done to it (`header_delay`, `header_abort`), and may make the share
 * smaller: its number counts in the unit in which the share was configured, parts of a million each.
 */
export interface FaultByRequest {
  readonly unitPerMillion: number;
}

export interface FaultConfig {
  readonly kind: "fault";
  readonly delay:
    | { readonly ms: number; readonly perMillion: number; readonly byRequest?: FaultByRequest | undefined }
    | undefined;
  readonly abort:
    | {
        readonly httpStatus: number | undefined;
        readonly grpcStatus: number | undefined;
        readonly perMillion: number;
        readonly byRequest?: FaultByRequest | undefined;
      }
    | undefined;
  /** All must match for the fault to be considered. */
  readonly headers: readonly HeaderMatch[];
  /** Concurrent injected delays; `undefined` = no limit. */
  readonly maxActive: number | undefined;
}

export interface RbacConfig {
  readonly kind: "rbac";
  /** `undefined`: no rules, a no-op (R57). An ALLOW without policies denies everything. */
  readonly rules: RbacRules | undefined;
}

export interface RbacRules {
  readonly action: "allow" | "deny" | "log";
  readonly policies: readonly RbacPolicy[];
}

/** Matches when any permission and any principal match. */
export interface RbacPolicy {
  readonly name: string;
  readonly permissions: readonly Permission[];
  readonly principals: readonly Principal[];
}

export type Permission =
  | { readonly kind: "any" }
  | { readonly kind: "and" | "or"; readonly of: readonly Permission[] }
  | { readonly kind: "not"; readonly of: Permission }
  | { readonly kind: "header"; readonly match: HeaderMatch }
  /** Path without query, canonical and raw readings (dataplane.md §23 rule 2). */
  | { readonly kind: "path"; readonly match: StringMatch }
  | { readonly kind: "destination_ip"; readonly cidr: Cidr }
  | { readonly kind: "destination_port"; readonly from: number; readonly to: number }
  | { readonly kind: "server_name"; readonly match: StringMatch }
  /** A matcher that can never be evaluated here: does not match, its negation does (R57). */
  | { readonly kind: "never" };

export type Principal =
  | { readonly kind: "any" }
  | { readonly kind: "and" | "or"; readonly of: readonly Principal[] }
  | { readonly kind: "not"; readonly of: Principal }
  /** `undefined`: any mutually authenticated peer. Compared with the SPIFFE URI, scheme included (R54). */
  | { readonly kind: "authenticated"; readonly match: StringMatch | undefined }
  | { readonly kind: "source_ip"; readonly cidr: Cidr }
  | { readonly kind: "header"; readonly match: HeaderMatch }
  | { readonly kind: "path"; readonly match: StringMatch }
  | { readonly kind: "never" };

// ── clusters ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** What telemetry says of a cluster. */
export interface ClusterInfo {
  /** `outbound|9080|v1|reviews.shop.svc.cluster.local`. */
  readonly name: string;
  readonly service: ServiceInfo | undefined;
}

export interface ServiceInfo {
  /** Full host name. */
  readonly host: string;
  /** Short name. */
  readonly name: string;
  readonly namespace: string;
}

export interface ClusterConfig extends ClusterInfo {
  readonly balancer: BalancerConfig;
  readonly endpoints: EndpointSet;
  readonly connectTimeoutMs: number;
  /** How to reach an endpoint; `tlsByMode` is looked up first by the endpoint's `tlsMode`. */
  readonly tls: UpstreamTls | undefined;
  /** Automatic mTLS (`transport_socket_matches`): TLS settings by `tlsMode`, `undefined` value = plaintext by policy. */
  readonly tlsByMode: ReadonlyMap<string, UpstreamTls | undefined>;
  readonly breaker: BreakerConfig;
  /** Absent: endpoints are never ejected for what they answer. */
  readonly outlier?: OutlierConfig | undefined;
  /** Absent: endpoints are not asked how they are. */
  readonly healthCheck?: HealthCheckConfig | undefined;
  /**
   * With less than this share of its endpoints healthy, percent, all of a priority are used, healthy or not
   * (`healthy_panic_threshold`, Istio's `minHealthPercent`). Default 0: never.
   */
  readonly panicPercent?: number | undefined;
  /** Absent: localities are chosen by their weights. Has no effect on balancers that hash. */
  readonly zoneAware?: ZoneAwareConfig | undefined;
  /** HTTP calls go over HTTP/2; gRPC's do in any case. */
  readonly http2: boolean;
  /** Absent: the transport's own defaults. */
  readonly connections?: ConnectionConfig | undefined;
  /**
   * The hosts of `endpoints` are names. Whoever calls `compile` may have put addresses in their place before; the engine
   * takes endpoints as they are.
   */
  readonly dns?: DnsDiscovery | undefined;
}

/**
 * Calls stay in the caller's zone as far as its endpoints can hold their part (Envoy `zone_aware_lb_config`, Istio `zoneAwareLbSetting`).
 * Only among the endpoints of the first priority; weights of localities do not count.
 */
export interface ZoneAwareConfig {
  /** 0 … 100: the part of the calls that looks at zones at all (`routing_enabled`). Default on the wire 100. */
  readonly routingPercent: number;
  /** With fewer endpoints that take traffic, zones do not count (`min_cluster_size`). Default on the wire 6. */
  readonly minClusterSize: number;
  /** A priority in panic answers with an error instead of using all of its endpoints (`fail_traffic_on_panic`). */
  readonly failOnPanic: boolean;
  /**
   * Where the caller is, and the endpoints of the cluster that it belongs to (Envoy `local_cluster_name`). `undefined`: not known, or
   * not yet, and zones do not count.
   */
  readonly local: { readonly locality: Locality; readonly endpoints: EndpointSet } | undefined;
}

/** How connections to endpoints live. `undefined` fields: the transport's own default. Envoy's HttpProtocolOptions and TcpKeepalive. */
export interface ConnectionConfig {
  /** A connection without a request is closed after this; 0 = never (`idle_timeout`). */
  readonly idleTimeoutMs: number | undefined;
  /** It takes no new request from this age on, less some jitter (`max_connection_duration`). */
  readonly maxDurationMs: number | undefined;
  /** At least 1 (`max_requests_per_connection`). */
  readonly maxRequests: number | undefined;
  /** Streams at once on an HTTP/2 connection, at least 1 (`max_concurrent_streams`). */
  readonly maxStreams: number | undefined;
  /** Pings on HTTP/2 connections, both at least 1 ms (`connection_keepalive`). */
  readonly keepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
  /** Silence before TCP's own first probe (`keepalive_time`). */
  readonly tcpKeepAliveMs: number | undefined;
}

/** How the names of a cluster become addresses. */
export interface DnsDiscovery {
  /**
   * - `strict`: each address of each name is an endpoint (Envoy `STRICT_DNS`).
   * - `logical`: each new connection goes to what the name means at that time (Envoy `LOGICAL_DNS`).
   */
  readonly kind: "strict" | "logical";
  /** Between two look-ups of a name, ≥ 1 (`dns_refresh_rate`). */
  readonly refreshMs: number;
  /** The same after one that failed (`dns_failure_refresh_rate`). */
  readonly failureRefreshMs: number;
  /** The time to live of an answer comes before `refreshMs` (`respect_dns_ttl`). */
  readonly respectTtl: boolean;
  /** `dns_lookup_family`; `AUTO` is `v6_preferred`. */
  readonly family: "v4" | "v6" | "v4_preferred" | "v6_preferred" | "all";
}

export interface BreakerConfig {
  readonly maxConnections: number;
  readonly maxPending: number;
  readonly maxRequests: number;
  /** Concurrent retries; ignored when `retryBudget` is there. */
  readonly maxRetries: number;
  readonly retryBudget: { readonly percent: number; readonly minConcurrency: number } | undefined;
}

/** How an endpoint is reached by TLS: as one of the mesh, or as a server outside of it. */
export type UpstreamTls = MeshTls | ServerTls;

/** A server outside of the mesh. Files are of this machine, in PEM; whoever connects reads them, and reads them again when they changed. */
export interface ServerTls {
  readonly kind: "server";
  /** The mesh's identity is never shown. */
  readonly identity?: undefined;
  /** What is shown instead; absent: nothing. */
  readonly certificate: { readonly chainFile: string; readonly keyFile: string } | undefined;
  /** `system`: what this runtime trusts; `none`: the server is not verified. */
  readonly roots: "system" | "none" | { readonly file: string };
  readonly crlFile: string | undefined;
  readonly serverName: string | undefined;
  /** One of them must be in the certificate; empty only where `roots` is `none`. */
  readonly names: readonly SubjectName[];
}

/** A name in a certificate. */
export interface SubjectName {
  readonly kind: "dns" | "uri" | "ip" | "email";
  readonly value: string;
}

export interface MeshTls {
  readonly kind?: undefined;
  /** Certificate provider instance of the own certificate; absent: none is shown. */
  readonly identity: string | undefined;
  /** Certificate provider instance of the roots. */
  readonly trust: string;
  readonly serverName: string | undefined;
  /** Accepted names of the server (SPIFFE URIs in the mesh). Replaces the host-name check; empty = any that the roots vouch for (R53). */
  readonly subjectNames: readonly StringMatch[];
}

export interface EndpointSet {
  readonly name: string;
  /** Index = priority, without gaps (R43). */
  readonly priorities: readonly (readonly LocalityEndpoints[])[];
  /**
   * Percent by which the healthy of a priority are thought to be enough: with 140, the default, a priority keeps all its
   * traffic until less than 71.4 % of it are healthy (`overprovisioning_factor`).
   */
  readonly overprovisioningPercent?: number | undefined;
  /** R49: each its own roll, in order. */
  readonly drops: readonly { readonly category: string; readonly perMillion: number }[];
}

export interface LocalityEndpoints {
  readonly locality: Locality;
  /** ≥ 1; localities without weight were skipped by the decoder. */
  readonly weight: number;
  readonly endpoints: readonly EndpointConfig[];
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subZone: string;
}

/** Its fields may be worked out when they are read: a copy names them, for a spread would not find them. */
export interface EndpointConfig {
  /** `host:port`, IPv6 in brackets, or the path of a Unix socket: the key under which load, latency and pools live. */
  readonly address: string;
  /** The path, where `port` is 0; one that begins with `@` is abstract, a name in no file system. */
  readonly host: string;
  readonly port: number;
  /** ≥ 1. */
  readonly weight: number;
  /** Only `healthy` takes new traffic (HEALTHY and UNKNOWN on the wire). */
  readonly health: "healthy" | "draining" | "unhealthy";
  /** `istio` = accepts mesh mTLS, `disabled` = does not, empty = nothing said. */
  readonly tlsMode: string;
  /** `workload;namespace;canonical service;revision;cluster;app;version`, as Istio's endpoint metadata gives it; empty when unknown. */
  readonly workload: string;
  /** Stands for the address in consistent hashing (`envoy.lb` metadata `hash_key`, gRFC A76). */
  readonly hashKey?: string | undefined;
}
