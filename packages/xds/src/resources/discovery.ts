import type { DnsDiscovery, EndpointSet } from "@trama/engine";
import { ClusterLoadAssignmentSchema, Cluster_DiscoveryType, Cluster_DnsLookupFamily, encode } from "@trama/proto/lean";
import type { Cluster } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { durationMs } from "./duration.ts";
import { endpoints } from "./endpoint.ts";
import { ResourceError, unsupported, within } from "./error.ts";

/** Where a cluster's endpoints come from. */
export interface Discovery {
  readonly endpoints: { readonly eds: string } | EndpointSet;
  readonly dns: DnsDiscovery | undefined;
}

export function discovery(cluster: Cluster): Discovery {
  const { clusterDiscoveryType: kind } = cluster;
  if (kind.case === "clusterType") return unsupported(`cluster_type ${kind.value.name}`);
  const type = kind.value ?? Cluster_DiscoveryType.STATIC;
  switch (type) {
    case Cluster_DiscoveryType.EDS:
      return { endpoints: { eds: edsName(cluster) }, dns: undefined };
    case Cluster_DiscoveryType.STATIC:
      return { endpoints: inline(cluster, "STATIC"), dns: undefined };
    case Cluster_DiscoveryType.STRICT_DNS:
      return { endpoints: inline(cluster, "STRICT_DNS"), dns: dns(cluster, "strict") };
    case Cluster_DiscoveryType.LOGICAL_DNS:
      return {
        endpoints: single(inline(cluster, "LOGICAL_DNS")),
        dns: logical(dns(cluster, "logical")),
      };
    default:
      return unsupported(`type ${Cluster_DiscoveryType[type] ?? type}`);
  }
}

function edsName(cluster: Cluster): string {
  const source = cluster.edsClusterConfig?.edsConfig?.configSourceSpecifier.case;
  if (source !== "ads" && source !== "self") {
    throw new ResourceError("eds_cluster_config.eds_config must be ads or self");
  }
  return cluster.edsClusterConfig?.serviceName || cluster.name;
}

function inline(cluster: Cluster, type: string): EndpointSet {
  const assignment = cluster.loadAssignment;
  if (assignment === undefined) throw new ResourceError(`a ${type} cluster needs load_assignment`);
  return within("load_assignment", () => {
    const found = endpoints(encode(ClusterLoadAssignmentSchema, assignment), cluster.name);
    if (type !== "STATIC")
      for (const { endpoints: all } of found.priorities.flat())
        if (all.some(({ port }) => port === 0)) throw new ResourceError(`a ${type} cluster has names, not pipes`);
    return found;
  });
}

/** gRFC A37 and Envoy: one name stands for the whole cluster. */
function single(set: EndpointSet): EndpointSet {
  const count = set.priorities.flat().reduce((sum, each) => sum + each.endpoints.length, 0);
  if (count !== 1) throw new ResourceError(`a LOGICAL_DNS cluster has exactly one endpoint, not ${count}`);
  return set;
}

/** Node looks up while it connects, and tries all that it gets: one family alone cannot be had. */
function logical(dns: DnsDiscovery): DnsDiscovery {
  if (dns.family === "v4" || dns.family === "v6")
    unsupported(`dns_lookup_family ${dns.family} of a LOGICAL_DNS cluster`);
  return dns;
}

/** Envoy's defaults. */
const refreshMs = 5_000;

function dns(cluster: Cluster, kind: DnsDiscovery["kind"]): DnsDiscovery {
  const every = optionalMs(cluster.dnsRefreshRate, "dns_refresh_rate") ?? refreshMs;
  const failure = cluster.dnsFailureRefreshRate;
  const base = failure && optionalMs(failure.baseInterval, "dns_failure_refresh_rate.base_interval");
  return {
    kind,
    refreshMs: every,
    failureRefreshMs: base ?? every,
    respectTtl: cluster.respectDnsTtl,
    family: family(cluster),
  };
}

function optionalMs(duration: Parameters<typeof durationMs>[0] | undefined, field: string): number | undefined {
  if (duration === undefined) return undefined;
  const ms = durationMs(duration, field);
  if (ms < 1) throw new ResourceError(`${field} must be at least 1ms`);
  return ms;
}

function family({ dnsLookupFamily: wanted }: Cluster): DnsDiscovery["family"] {
  switch (wanted) {
    case Cluster_DnsLookupFamily.V4_ONLY:
      return "v4";
    case Cluster_DnsLookupFamily.V6_ONLY:
      return "v6";
    case Cluster_DnsLookupFamily.V4_PREFERRED:
      return "v4_preferred";
    case Cluster_DnsLookupFamily.ALL:
      return "all";
    default:
      return "v6_preferred";
  }
}
