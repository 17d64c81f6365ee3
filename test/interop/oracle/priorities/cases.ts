import { Cluster_DiscoveryType, Cluster_LbPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { HealthStatus } from "@trama/proto/envoy/config/core/v3/health_check_pb.js";

import { duration, locality } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";

/** A cluster of several priorities and localities, some of whose endpoints are not healthy. */
export function priorityCase(
  chance: Chance,
  at: number,
  host: string,
  ports: readonly number[],
): Init<typeof ClusterSchema> {
  const left = [...ports];
  const panic = chance.pick([0, 0, 50, 80]);
  const sick = chance.pick([0.2, 0.5, 0.8]);
  const endpoints = Array.from({ length: chance.int(1, 3) }, (_, priority) =>
    chance.list(1, 2, (zone) => {
      const list = left.splice(0, Math.min(left.length, chance.int(1, 2))).map((port) => ({
        address: host,
        port,
        health: chance.maybe(sick) ? HealthStatus.UNHEALTHY : HealthStatus.HEALTHY,
      }));
      // In panic Envoy passes over localities, which makes no difference where their weights are their sizes.
      const weight = panic === 0 ? chance.int(1, 5) : Math.max(1, list.length);
      return locality(list, { priority, locality: { region: "r", zone: `z${zone}` }, loadBalancingWeight: weight });
    }),
  ).flat();
  return {
    name: `priorities-${at}`,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    connectTimeout: duration(5_000),
    lbPolicy: Cluster_LbPolicy.RANDOM,
    commonLbConfig: {
      healthyPanicThreshold: { value: panic },
      localityConfigSpecifier: { case: "localityWeightedLbConfig", value: {} },
    },
    loadAssignment: {
      clusterName: `priorities-${at}`,
      endpoints,
      policy: chance.maybe(0.3) ? { overprovisioningFactor: chance.pick([100, 200]) } : {},
    },
  } as Init<typeof ClusterSchema>;
}
