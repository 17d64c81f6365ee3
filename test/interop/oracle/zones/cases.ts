import { Cluster_DiscoveryType, Cluster_LbPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { HealthStatus } from "@trama/proto/envoy/config/core/v3/health_check_pb.js";
import { RandomSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/random/v3/random_pb.js";

import { any, duration, locality } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";

type ClusterInit = Init<typeof ClusterSchema>;
type Endpoints = NonNullable<NonNullable<ClusterInit["loadAssignment"]>["endpoints"]>;

const zones = 4;
export const ownZone = { region: "r", zone: "z0", subZone: "" };

/** Where the callers are, the own zone among them or not; nobody is ever called there. */
export function callerZones(chance: Chance): Endpoints {
  let port = 1;
  return spread(
    chance,
    0.2,
    () => port++,
    "127.0.0.1",
    () => chance.int(0, 4),
  );
}

/** A cluster whose endpoints are in some of the zones, some of them unhealthy; now and then in a second priority too. */
export function zoneCase(chance: Chance, at: number, host: string, ports: readonly number[]): ClusterInit {
  const left = [...ports];
  const next = (): number | undefined => left.shift();
  const sick = chance.pick([0, 0.2, 0.4]);
  const first = spread(chance, sick, next, host, () => chance.int(0, 3));
  const second = chance.maybe(0.3)
    ? spread(chance, sick, next, host, () => chance.int(0, 1)).map((each) => ({ ...each, priority: 1 }))
    : [];
  const value = {
    ...(chance.maybe(0.3) && { routingEnabled: { value: chance.pick([0, 25, 60]) } }),
    ...(chance.maybe(0.8) && { minClusterSize: BigInt(chance.int(0, 3)) }),
    failTrafficOnPanic: chance.maybe(0.3),
  };
  const localityConfigSpecifier = { case: "zoneAwareLbConfig", value } as const;
  const inPolicy = chance.maybe(0.3);
  const newer = any(RandomSchema, { localityLbConfig: { localityConfigSpecifier } });
  return {
    name: `zones-${at}`,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    connectTimeout: duration(5_000),
    lbPolicy: Cluster_LbPolicy.RANDOM,
    commonLbConfig: {
      healthyPanicThreshold: { value: chance.pick([0, 0, 30, 60]) },
      ...(!inPolicy && { localityConfigSpecifier }),
    },
    ...(inPolicy && {
      loadBalancingPolicy: { policies: [{ typedExtensionConfig: { name: "random", typedConfig: newer } }] },
    }),
    loadAssignment: { clusterName: `zones-${at}`, endpoints: first.length === 0 ? [] : [...first, ...second] },
  } as ClusterInit;
}

function spread(
  chance: Chance,
  sick: number,
  nextPort: () => number | undefined,
  host: string,
  size: () => number,
): Endpoints {
  return Array.from({ length: zones }, (_, zone) => {
    const list = Array.from({ length: size() }, () => nextPort()).flatMap((port) =>
      port === undefined
        ? []
        : [{ address: host, port, health: chance.maybe(sick) ? HealthStatus.UNHEALTHY : HealthStatus.HEALTHY }],
    );
    return { list, zone };
  }).flatMap(({ list, zone }) =>
    list.length === 0
      ? []
      : [locality(list, { locality: { region: "r", zone: `z${zone}` }, loadBalancingWeight: chance.int(1, 9) })],
  );
}
