import type { Balancer } from "../../model/balancer.ts";
import {
  type ConnectionPool,
  type DestinationPolicy,
  type LocalityPolicy,
  type OutlierPolicy,
  type DestinationTls,
  type PortTraffic,
  type TrafficPolicy,
  noTraffic,
} from "../../model/destination.ts";
import { type MeshSettings, fullHost } from "../../model/mesh.ts";
import { visibility } from "../../model/visibility.ts";
import type { ConnectionPoolSpec } from "../../sources/istio/connection-pool.ts";
import type { LoadBalancerSpec } from "../../sources/istio/load-balancer.ts";
import type { OutlierDetectionSpec } from "../../sources/istio/outlier-detection.ts";
import type { PortPolicySpec, TlsSpec, TrafficPolicySpec } from "../../sources/istio/destination-rule.ts";
import type { Content } from "../../sources/object.ts";

/** DestinationRule → destination policy (istio-api §3). */
export function destinationRule(content: Content<"DestinationRule">, mesh: MeshSettings): DestinationPolicy {
  const { namespace, name, spec } = content;
  const byLatency = content.settings["trama.io/load-balancer"] === "PEAK_EWMA";
  const { credentialsDir } = mesh;
  return {
    namespace,
    name,
    host: fullHost(mesh, spec.host, namespace),
    visible: visibility(spec.workloadSelector === undefined ? spec.exportTo : ["."], namespace),
    selector: spec.workloadSelector?.matchLabels ?? {},
    probing: content.settings["trama.io/outlier-probing"] !== "false",
    traffic: translateTraffic(spec.trafficPolicy, { byLatency, all: byLatency, credentialsDir }),
    subsets: spec.subsets.map((subset) => ({
      name: subset.name,
      labels: subset.labels,
      traffic: translateTraffic(subset.trafficPolicy, { byLatency, all: false, credentialsDir }),
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

interface Around {
  /** Peak EWMA where it would be least request; with `all`, also where nothing is said. */
  readonly byLatency: boolean;
  readonly all: boolean;
  readonly credentialsDir: string;
}

function translateTraffic(spec: TrafficPolicySpec | undefined, around: Around): TrafficPolicy {
  if (spec === undefined) return around.all ? { ...noTraffic, balancer: { kind: "peak_ewma" } } : noTraffic;
  const { retryBudget, portLevelSettings } = spec;
  return {
    ...translateBlocks(spec, around),
    retryBudget:
      retryBudget === undefined
        ? undefined
        : { percent: retryBudget.percent, minConcurrency: retryBudget.minRetryConcurrency },
    // Of a port, what is not said is the default and not inherited.
    ports: new Map(
      portLevelSettings.map((each) => [each.port.number, translateBlocks(each, { ...around, all: around.byLatency })]),
    ),
  };
}

/** The blocks that a host, a subset and a port of it can have alike. */
function translateBlocks(
  spec: TrafficPolicySpec | PortPolicySpec,
  { byLatency, all, credentialsDir }: Around,
): PortTraffic {
  const { loadBalancer, connectionPool, tls, outlierDetection } = spec;
  const unsaid: Balancer | undefined = all ? { kind: "peak_ewma" } : undefined;
  return {
    balancer: loadBalancer === undefined ? unsaid : translateBalancer(loadBalancer, byLatency),
    pool: connectionPool && translatePool(connectionPool),
    tls: tls && translateTls(tls, credentialsDir),
    outlier: outlierDetection && translateOutlier(outlierDetection),
    locality: loadBalancer && translatePlaces(loadBalancer),
  };
}

/** LEAST_CONN is the old name of LEAST_REQUEST. */
function translateBalancer({ simple, consistentHash, warmup }: LoadBalancerSpec, byLatency: boolean): Balancer {
  if (consistentHash !== undefined) {
    const { key, table } = consistentHash;
    return { kind: "hash", key, table };
  }
  if (simple === "PASSTHROUGH") return { kind: "passthrough" };
  if (simple === "RANDOM") return { kind: "random" };
  if (simple === "ROUND_ROBIN") return { kind: "round_robin", warmup };
  return byLatency && warmup === undefined ? { kind: "peak_ewma" } : { kind: "least_request", warmup };
}

function translateTls(spec: TlsSpec, credentialsDir: string): DestinationTls {
  const { mode, sni, subjectAltNames, caCrl, insecureSkipVerify } = spec;
  const { clientCertificate, privateKey, caCertificates } = filesOf(spec, credentialsDir);
  return {
    mode: mode === "DISABLE" ? "disable" : mode === "ISTIO_MUTUAL" ? "mesh" : "server",
    sni,
    subjectAltNames,
    server: {
      certificate:
        clientCertificate === undefined || privateKey === undefined
          ? undefined
          : { chainFile: clientCertificate, keyFile: privateKey },
      roots: insecureSkipVerify ? "none" : caCertificates === undefined ? "system" : { file: caCertificates },
      crlFile: caCrl,
    },
  };
}

/** A Secret is a folder, its keys are files: so Kubernetes mounts it, and its private key stays between it and the caller (S35). */
function filesOf(
  spec: TlsSpec,
  credentialsDir: string,
): Pick<TlsSpec, "clientCertificate" | "privateKey" | "caCertificates"> {
  if (spec.credentialName === undefined) return spec;
  const folder = `${credentialsDir}/${spec.credentialName}`;
  return {
    ...(spec.mode === "MUTUAL" && { clientCertificate: `${folder}/tls.crt`, privateKey: `${folder}/tls.key` }),
    caCertificates: `${folder}/ca.crt`,
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

/** `zoneAwareLbSetting` that is off says no more than nothing does. */
function translatePlaces({
  localityLbSetting: near,
  zoneAwareLbSetting: zones,
}: LoadBalancerSpec): LocalityPolicy | undefined {
  if (zones?.enabled === true) {
    const { failover, failoverPriority, minClusterSize } = zones;
    return { enabled: true, distribute: [], failover, failoverPriority, zoneAware: { minClusterSize } };
  }
  if (near === undefined) return undefined;
  const { enabled, distribute, failover, failoverPriority } = near;
  return {
    enabled,
    distribute: distribute.map(({ from, to }) => ({ from, to: Object.entries(to) })),
    failover,
    failoverPriority,
    zoneAware: undefined,
  };
}

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
    silenceMs: tcp.idleTimeout,
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
