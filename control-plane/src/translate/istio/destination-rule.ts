import {
  type ConnectionPool,
  type DestinationPolicy,
  type LocalityPolicy,
  type OutlierPolicy,
  type DestinationTls,
  type TrafficPolicy,
  noTraffic,
} from "../../model/destination.ts";
import { type MeshSettings, fullHost } from "../../model/mesh.ts";
import { visibility } from "../../model/visibility.ts";
import type { ConnectionPoolSpec } from "../../sources/istio/connection-pool.ts";
import type { LocalitySettingSpec } from "../../sources/istio/locality-setting.ts";
import type { OutlierDetectionSpec } from "../../sources/istio/outlier-detection.ts";
import type { BalancerName, TlsSpec, TrafficPolicySpec } from "../../sources/istio/destination-rule.ts";
import type { Content } from "../../sources/object.ts";

/** DestinationRule → destination policy (istio-api §3). */
export function destinationRule(content: Content<"DestinationRule">, mesh: MeshSettings): DestinationPolicy {
  const { namespace, name, spec } = content;
  return {
    namespace,
    name,
    host: fullHost(mesh, spec.host, namespace),
    visible: visibility(spec.workloadSelector === undefined ? spec.exportTo : ["."], namespace),
    selector: spec.workloadSelector?.matchLabels ?? {},
    probing: content.settings["trama.io/outlier-probing"] !== "false",
    traffic: translateTraffic(spec.trafficPolicy),
    subsets: spec.subsets.map((subset) => ({
      name: subset.name,
      labels: subset.labels,
      traffic: translateTraffic(subset.trafficPolicy),
    })),
  };
}

/**
 * Several rules of one namespace for one host: their subsets add up, and one of them at most has a policy for the whole
 * host (anything else was refused before).
 */
export function join(policies: readonly DestinationPolicy[]): DestinationPolicy {
  const [first] = policies;
  if (first === undefined) throw new Error("nothing to join");
  if (policies.length === 1) return first;
  const traffic = policies.find((policy) => policy.traffic !== noTraffic)?.traffic ?? noTraffic;
  const probing = policies.every((policy) => policy.probing);
  return { ...first, traffic, probing, subsets: policies.flatMap((policy) => policy.subsets) };
}

function translateTraffic(spec: TrafficPolicySpec | undefined): TrafficPolicy {
  if (spec === undefined) return noTraffic;
  const { loadBalancer, connectionPool, tls, retryBudget, outlierDetection } = spec;
  return {
    balancer: loadBalancer === undefined ? undefined : balancers[loadBalancer.simple],
    pool: connectionPool === undefined ? undefined : translatePool(connectionPool),
    tls: tls === undefined ? undefined : translateTls(tls),
    retryBudget:
      retryBudget === undefined
        ? undefined
        : { percent: retryBudget.percent, minConcurrency: retryBudget.minRetryConcurrency },
    outlier: outlierDetection && translateOutlier(outlierDetection),
    locality: loadBalancer?.localityLbSetting && translateLocality(loadBalancer.localityLbSetting),
  };
}

function translateTls(spec: TlsSpec): DestinationTls {
  const { mode, sni, subjectAltNames, clientCertificate, privateKey, caCertificates, caCrl } = spec;
  return {
    mode: mode === "DISABLE" ? "disable" : mode === "ISTIO_MUTUAL" ? "mesh" : "server",
    sni,
    subjectAltNames,
    server: {
      certificate:
        clientCertificate === undefined || privateKey === undefined
          ? undefined
          : { chainFile: clientCertificate, keyFile: privateKey },
      roots: spec.insecureSkipVerify ? "none" : caCertificates === undefined ? "system" : { file: caCertificates },
      crlFile: caCrl,
    },
  };
}

function translateOutlier(spec: OutlierDetectionSpec): OutlierPolicy {
  return {
    consecutive5xx: spec.consecutive5xxErrors,
    consecutiveGateway: spec.consecutiveGatewayErrors,
    splitLocal: spec.splitExternalLocalOriginErrors,
    consecutiveLocal: spec.consecutiveLocalOriginFailures ?? 5,
    intervalMs: spec.interval,
    baseEjectionMs: spec.baseEjectionTime,
    maxEjectionPercent: spec.maxEjectionPercent,
    minHealthPercent: spec.minHealthPercent,
    errorStatuses: [...new Set(spec.outlierDetectionHttpErrorCodes)].sort((a, b) => a - b),
  };
}

function translateLocality({ enabled, distribute, failover, failoverPriority }: LocalitySettingSpec): LocalityPolicy {
  return {
    enabled,
    distribute: distribute.map(({ from, to }) => ({ from, to: Object.entries(to) })),
    failover,
    failoverPriority,
  };
}

/** LEAST_CONN is the old name of LEAST_REQUEST. */
const balancers: Readonly<Record<BalancerName, TrafficPolicy["balancer"]>> = {
  UNSPECIFIED: "least_request",
  LEAST_REQUEST: "least_request",
  LEAST_CONN: "least_request",
  ROUND_ROBIN: "round_robin",
  RANDOM: "random",
};

/**
 * The names mislead: both HTTP limits count for HTTP/1 and HTTP/2, and the idle time of TCP holds for HTTP where that has none of its own
 * (istio-api §3.4). A port that is HTTP/2 already is not made less of by DO_NOT_UPGRADE.
 */
function translatePool({ tcp, http }: ConnectionPoolSpec): ConnectionPool {
  return {
    connectTimeoutMs: tcp.connectTimeout,
    maxConnections: tcp.maxConnections,
    maxPending: http.http1MaxPendingRequests,
    maxRequests: http.http2MaxRequests,
    maxRetries: http.maxRetries,
    idleTimeoutMs: http.idleTimeout ?? tcp.idleTimeout,
    maxConnectionDurationMs: tcp.maxConnectionDuration,
    maxRequestsPerConnection: http.maxRequestsPerConnection,
    maxStreams: http.maxConcurrentStreams,
    http2KeepAlive: http.http2KeepAlive && {
      intervalMs: http.http2KeepAlive.interval,
      timeoutMs: http.http2KeepAlive.timeout,
    },
    tcpKeepAliveMs: tcp.tcpKeepalive?.time,
    protocol: http.useClientProtocol ? "client" : http.h2UpgradePolicy === "UPGRADE" ? "http2" : "port",
  };
}
