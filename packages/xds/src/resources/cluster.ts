import type { BreakerConfig, ClusterConfig, EndpointSet, ServiceInfo, UpstreamTls } from "@trama/engine";
import { ClusterSchema, RoutingPriority, typeUrls } from "@trama/proto/lean";
import type {
  CircuitBreakers,
  CircuitBreakers_Thresholds,
} from "@trama/proto/envoy/config/cluster/v3/circuit_breaker_pb.js";
import type { Cluster, Cluster_CommonLbConfig } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { Metadata } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import { decode } from "./any.ts";
import { balancing } from "./balancer.ts";
import { connections } from "./connections.ts";
import { durationMs } from "./duration.ts";
import { discovery } from "./discovery.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { healthCheck } from "./health-check.ts";
import { outlierDetection } from "./outlier.ts";
import { upstreamTls } from "./tls.ts";
import type { DecodeOptions, ResourceType } from "./type.ts";
import type { DecodedZoneAware } from "./zone-aware.ts";

/** A cluster without its endpoints, which come by EDS or are here already, as addresses or as names for DNS. */
export interface DecodedCluster extends Omit<ClusterConfig, "endpoints" | "zoneAware"> {
  readonly endpoints: { readonly eds: string } | EndpointSet;
  readonly zoneAware?: DecodedZoneAware | undefined;
}

export const clusterType: ResourceType<DecodedCluster> = {
  typeUrl: typeUrls.cluster,
  decode(bytes, options) {
    const cluster = decode(ClusterSchema, bytes);
    return { name: cluster.name, value: decodeCluster(cluster, options) };
  },
};

function decodeCluster(cluster: Cluster, options: DecodeOptions): DecodedCluster {
  if (cluster.name === "") throw new ResourceError("name is empty");
  onlyFields(
    cluster,
    [
      "name",
      "clusterDiscoveryType",
      "edsClusterConfig",
      "loadAssignment",
      "connectTimeout",
      "lbPolicy",
      "lbConfig",
      "loadBalancingPolicy",
      "circuitBreakers",
      "outlierDetection",
      "healthChecks",
      "commonLbConfig",
      "http2ProtocolOptions",
      "typedExtensionProtocolOptions",
      "upstreamConnectionOptions",
      "transportSocket",
      "transportSocketMatches",
      "metadata",
      "dnsRefreshRate",
      "dnsFailureRefreshRate",
      "respectDnsTtl",
      "dnsLookupFamily",
    ],
    harmless,
  );
  const source = discovery(cluster);
  const { errorStatuses, ...spoken } = connections(cluster);
  return {
    name: cluster.name,
    service: serviceInfo(cluster.metadata),
    ...balancing(cluster),
    endpoints: source.endpoints,
    ...(source.dns === undefined ? {} : { dns: source.dns }),
    connectTimeoutMs: connectTimeout(cluster),
    ...tls(cluster, options),
    breaker: within("circuit_breakers", () => breaker(cluster.circuitBreakers)),
    outlier: within("outlier_detection", () =>
      outlierDetection(cluster.outlierDetection, cluster.metadata, errorStatuses),
    ),
    healthCheck: within("health_checks", () => healthCheck(cluster.healthChecks)),
    panicPercent: within("common_lb_config", () => panicPercent(cluster.commonLbConfig)),
    ...spoken,
  };
}

/** Of a proxy's own affairs: buffers, statistics, pool warming. */
const harmless: readonly (keyof Cluster)[] = [
  "altStatName",
  "perConnectionBufferLimitBytes",
  "commonHttpProtocolOptions",
  "httpProtocolOptions",
  "upstreamHttpProtocolOptions",
  "waitForWarmOnInit",
  "cleanupInterval",
  "protocolSelection",
  "closeConnectionsOnHostHealthFailure",
  "ignoreHealthOnHostRemoval",
  "lrsServer",
  "lrsReportEndpointMetrics",
  "trackTimeoutBudgets",
  "trackClusterStats",
  "preconnectPolicy",
];

/** Istio names the services behind a cluster or port in `metadata.filter_metadata.istio.services`. */
export function serviceInfo(metadata: Metadata | undefined): ServiceInfo | undefined {
  const services = metadata?.filterMetadata["istio"]?.["services"];
  const first: unknown = Array.isArray(services) ? services[0] : undefined;
  if (typeof first !== "object" || first === null) return undefined;
  const { host, name, namespace } = first as Readonly<Record<string, unknown>>;
  if (typeof host !== "string" || typeof name !== "string" || typeof namespace !== "string") return undefined;
  return { host, name, namespace };
}

/**
 * Where nothing is said, nobody who is unhealthy is ever used, which is Istio's default and not Envoy's (50 %). Which way
 * localities count is read with the balancer.
 */
function panicPercent(config: Cluster_CommonLbConfig | undefined): number {
  if (config === undefined) return 0;
  onlyFields(
    config,
    ["healthyPanicThreshold"],
    [
      "localityConfigSpecifier",
      "updateMergeWindow",
      "ignoreNewHostsUntilFirstHc",
      "closeConnectionsOnHostSetChange",
      "consistentHashingLbConfig",
    ],
  );
  const percent = config.healthyPanicThreshold?.value ?? 0;
  if (!(percent >= 0 && percent <= 100))
    throw new ResourceError(`healthy_panic_threshold ${percent} is not between 0 and 100`);
  return percent;
}

function connectTimeout(cluster: Cluster): number {
  if (cluster.connectTimeout === undefined) return 5_000; // Envoy's default
  const ms = durationMs(cluster.connectTimeout, "connect_timeout");
  if (ms <= 0) throw new ResourceError("connect_timeout must be greater than zero");
  return ms;
}

// ── circuit breakers ─────────────────────────────────────────────────────────────────────────────────────────────

/** Only the row of priority DEFAULT is used (R48); what it leaves out has Envoy's defaults. */
function breaker(breakers: CircuitBreakers | undefined): BreakerConfig {
  if (breakers !== undefined) onlyFields(breakers, ["thresholds"]);
  const row = breakers?.thresholds.find((one) => one.priority === RoutingPriority.DEFAULT);
  return {
    maxConnections: row?.maxConnections ?? 1024,
    maxPending: row?.maxPendingRequests ?? 1024,
    maxRequests: row?.maxRequests ?? 1024,
    maxRetries: row?.maxRetries ?? 3,
    retryBudget: row && retryBudget(row),
  };
}

function retryBudget(row: CircuitBreakers_Thresholds): BreakerConfig["retryBudget"] {
  if (row.retryBudget === undefined) return undefined;
  const percent = row.retryBudget.budgetPercent?.value ?? 20;
  if (!(percent >= 0 && percent <= 100)) throw new ResourceError(`budget_percent ${percent} is not between 0 and 100`);
  return { percent, minConcurrency: row.retryBudget.minRetryConcurrency ?? 3 };
}

// ── transport ───────────────────────────────────────────────────────────────────────────────────────

/** The plain transport socket, or automatic mTLS: a list in which the first match by the endpoint's `tlsMode` wins. */
function tls(cluster: Cluster, options: DecodeOptions): Pick<ClusterConfig, "tls" | "tlsByMode"> {
  let fallback = within("transport_socket", () => upstreamTls(cluster.transportSocket, options));
  const byMode = new Map<string, UpstreamTls | undefined>();
  let decided = false;
  each("transport_socket_matches", cluster.transportSocketMatches, ({ match, transportSocket }) => {
    const keys = Object.keys(match ?? {});
    const mode = match?.["tlsMode"];
    const value = upstreamTls(transportSocket, options);
    if (keys.length === 0) {
      // Matches every endpoint: what comes after it is never reached.
      if (!decided) fallback = value;
      decided = true;
    } else if (keys.length !== 1 || typeof mode !== "string") {
      throw new ResourceError(`match on ${keys.join(", ")} is not supported; match on tlsMode`);
    } else if (!decided && !byMode.has(mode)) {
      byMode.set(mode, value);
    }
  });
  return { tls: fallback, tlsByMode: byMode };
}
