import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CircuitBreakersSchema } from "@trama/proto/envoy/config/cluster/v3/circuit_breaker_pb.js";
import {
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  ClusterSchema,
} from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ApiVersion } from "@trama/proto/envoy/config/core/v3/config_source_pb.js";
import { RawBufferSchema } from "@trama/proto/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";

import type { PeerPolicies } from "../model/access.ts";
import { type DestinationPolicy, type TrafficPolicy, effectiveTraffic } from "../model/destination.ts";
import type { MeshSettings } from "../model/mesh.ts";
import { type Endpoint, type Service, type ServicePort, asCalled, hasLabels } from "../model/service.ts";
import type { NodeView, WireResource } from "../snapshot.ts";
import { balancerFields } from "./balancer.ts";
import { sidecarUpstreamTls } from "./envoy/tls.ts";
import { httpOptions, keepAlive, protocolOf } from "./http-options.ts";
import { loadAssignment } from "./endpoints.ts";
import type { Placing } from "./locality.ts";
import { outlierDetection, outlierMetadata } from "./outlier.ts";
import { commonLb } from "./places.ts";
import { type ClusterName, clusterName, serverName } from "./names.ts";
import { serverTls } from "./server-tls.ts";
import { serviceMetadata } from "./metadata.ts";
import { trustDomains, upstreamTls } from "./tls.ts";
import { durationOf, pack, wireResource } from "./wire.ts";

export interface ClusterInput {
  readonly mesh: MeshSettings;
  readonly service: Service;
  readonly port: ServicePort;
  /** It takes whole connections: nothing is said of requests, and the TLS in them is the application's own. */
  readonly opaque: boolean;
  readonly policy: DestinationPolicy | undefined;
  /** Empty: the whole service. */
  readonly subset: string;
  /** Calls go where the name leads that was called, whatever endpoints there are. */
  readonly passes: boolean;
  /** Of the whole service: a server's names do not depend on the subset. */
  readonly endpoints: readonly Endpoint[];
  readonly kind: NodeView["kind"];
  /** Of a sidecar: it fetches certificates as secrets. */
  readonly proxy: NodeView["proxy"];
  /** Of the endpoints' namespace; they count where the endpoints stand in the cluster itself. */
  readonly peers: PeerPolicies;
  /** The same. */
  readonly placing: Placing | undefined;
}

type ClusterInit = MessageInitShape<typeof ClusterSchema>;

/** Istio's default (istio-api §3.4). */
const connectTimeoutMs = 10_000;
/** Istio's way to say "no limit". */
export const unlimited = 4_294_967_295;

export function cluster(input: ClusterInput): WireResource {
  const { service, port, opaque, kind } = input;
  const id: ClusterName = { port: port.number, subset: input.subset, host: service.host };
  const name = clusterName(id);
  const traffic = effectiveTraffic(input.policy, input.subset, port.number);
  return wireResource(ClusterSchema, name, {
    name,
    ...discovery(name, input),
    connectTimeout: durationOf(traffic.pool?.connectTimeoutMs ?? connectTimeoutMs),
    ...balancerFields(traffic.balancer, kind),
    circuitBreakers: breakers(traffic),
    ...outlierDetection(traffic, kind),
    ...commonLb(traffic, input),
    metadata: {
      filterMetadata: {
        ...serviceMetadata([service]),
        ...outlierMetadata(traffic, input.policy?.probing ?? true, kind),
      },
    },
    ...transport(input, traffic, serverName(id)),
    ...(opaque ? {} : httpOptions(port, traffic, kind)),
    ...keepAlive(traffic),
  });
}

type DiscoveryField = "clusterDiscoveryType" | "edsClusterConfig" | "loadAssignment";

/** Where the endpoints come from: ADS, or DNS by the names that stand here. */
function discovery(
  name: string,
  { service, port, policy, subset, passes, endpoints, peers, kind, placing }: ClusterInput,
): Pick<ClusterInit, DiscoveryField | keyof typeof dnsSettings> {
  const labels = policy?.subsets.find((each) => each.name === subset)?.labels ?? {};
  const here = passes ? [asCalled(service, port)] : endpoints.filter((each) => hasLabels(each.labels, labels));
  if (service.resolution === "static" && !passes)
    return {
      clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: {
        serviceName: name,
        edsConfig: { resourceApiVersion: ApiVersion.V3, configSourceSpecifier: { case: "ads", value: {} } },
      },
    };
  // gRPC libraries know the logical form alone (gRFC A37).
  const logical = passes || service.resolution === "name" || kind === "grpc";
  return {
    clusterDiscoveryType: {
      case: "type",
      value: logical ? Cluster_DiscoveryType.LOGICAL_DNS : Cluster_DiscoveryType.STRICT_DNS,
    },
    loadAssignment: loadAssignment({ name, port, endpoints: here, subset: {}, peers, placing }),
    ...(kind === "grpc" ? {} : dnsSettings),
  };
}

/** Istio's: the zone says how long an answer holds. */
const dnsSettings = {
  dnsRefreshRate: durationOf(60_000),
  dnsFailureRefreshRate: { baseInterval: durationOf(5_000), maxInterval: durationOf(60_000) },
  respectDnsTtl: true,
  dnsLookupFamily: Cluster_DnsLookupFamily.V4_PREFERRED,
};

/**
 * Retries are the one thing that is never without a limit: without a word in the policy, the defaults of Istio's own
 * retryBudget hold.
 */
function breakers({ pool, retryBudget }: Partial<TrafficPolicy>): MessageInitShape<typeof CircuitBreakersSchema> {
  const counted = retryBudget === undefined && pool?.maxRetries !== undefined;
  const { percent, minConcurrency } = retryBudget ?? { percent: 20, minConcurrency: 3 };
  return {
    thresholds: [
      {
        maxConnections: pool?.maxConnections ?? unlimited,
        maxPendingRequests: pool?.maxPending ?? unlimited,
        maxRequests: pool?.maxRequests ?? unlimited,
        maxRetries: pool?.maxRetries ?? unlimited,
        ...(counted ? {} : { retryBudget: { budgetPercent: { value: percent }, minRetryConcurrency: minConcurrency } }),
      },
    ],
  };
}

/** How endpoints are reached. Nothing at all means plaintext, so each way there is written out. */
function transport(
  { mesh, service, port, opaque, policy, passes, endpoints, kind, proxy }: ClusterInput,
  { tls, pool }: Partial<TrafficPolicy>,
  ownName: string,
): Pick<ClusterInit, "transportSocket" | "transportSocketMatches"> {
  const wanted = tls?.subjectAltNames ?? [];
  // Callers of an HTTPS port speak TLS whether a rule adds any or not.
  if (tls?.mode === "server" || (port.protocol === "https" && !opaque && tls?.mode !== "mesh")) {
    const names = wanted.length > 0 ? wanted : service.subjectAltNames;
    const speaks = opaque ? undefined : port.protocol === "http2" ? "h2" : "http/1.1";
    return { transportSocket: serverTls(service.host, tls, names, { kind, speaks }) };
  }
  if (tls?.mode === "disable") return {};
  const names = wanted.length > 0 ? wanted : serverNames(mesh, service, endpoints);
  const sni = tls?.sni ?? ownName;
  const secured =
    proxy === undefined
      ? upstreamTls(sni, names, kind)
      : sidecarUpstreamTls({ sni, names, protocol: opaque ? "any" : protocolOf(port, pool), proxy });
  if (policy !== undefined && tls?.mode === "mesh") return { transportSocket: secured };
  if (!service.internal) return {};
  if (kind === "grpc" || passes) {
    // These clients cannot choose by endpoint, and nobody knows which one a name leads to: all or nothing.
    const all = endpoints.length > 0 && endpoints.every((endpoint) => endpoint.mesh);
    return all ? { transportSocket: secured } : {};
  }
  return {
    transportSocketMatches: [
      { name: "tlsMode-istio", match: { tlsMode: "istio" }, transportSocket: secured },
      { name: "tlsMode-disabled", match: {}, transportSocket: plaintext },
    ],
  };
}

const plaintext = {
  name: "envoy.transport_sockets.raw_buffer",
  configType: { case: "typedConfig" as const, value: pack(RawBufferSchema, {}) },
};

/** SPIFFE ids of the accounts behind the service, under each of our trust domains; sorted, so that order is no change. */
function serverNames(mesh: MeshSettings, service: Service, endpoints: readonly Endpoint[]): readonly string[] {
  const accounts = new Set(
    endpoints.flatMap(({ namespace, serviceAccount, mesh: secured }) =>
      secured && serviceAccount !== undefined ? [`ns/${namespace}/sa/${serviceAccount}`] : [],
    ),
  );
  // An empty list would accept everybody. No account has an empty name, so this one accepts nobody, until an endpoint
  // with an account comes.
  if (accounts.size === 0) accounts.add(`ns/${service.namespace}/sa/`);
  const ids = trustDomains(mesh).flatMap((domain) => [...accounts].map((account) => `spiffe://${domain}/${account}`));
  return [...new Set([...ids, ...service.subjectAltNames])].sort();
}
