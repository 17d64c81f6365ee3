import { create, toBinary } from "@bufbuild/protobuf";
import { Cluster_DiscoveryType, ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";

import type { ClusterConfig, EndpointSet } from "../../../../packages/engine/src/config.ts";
import { clusterType } from "../../../../packages/xds/src/resources/cluster.ts";
import { endpointType } from "../../../../packages/xds/src/resources/endpoint.ts";
import { duration } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { compareShares, requestsPerCase } from "../endpoint-shares.ts";
import { decodeOptions } from "../routes/ours.ts";
import { callerZones, ownZone, zoneCase } from "./cases.ts";

const loopback = "127.0.0.1";
const backends = 16;
/** An Envoy is a caller of one cluster only. */
const envoys = 3;

/** Zone aware routing over random spreads of callers and endpoints: every endpoint gets the same share in Envoy and with us. */
export const zonesRow: Capability = {
  name: "oracle: zone aware routing",
  limitMs: 180_000,
  async run(context) {
    const echoes = await Promise.all(Array.from({ length: backends }, () => startEcho(loopback)));
    const ports = echoes.map(({ port }) => port);
    const count = Math.ceil((context.requests * 0.2) / requestsPerCase / envoys);
    context.progress(`${envoys} spreads of callers, ${count} clusters each, seed ${context.seed}`);
    const differences: Difference[] = [];
    try {
      for (let round = 0; round < envoys; round++) {
        const chance = (at: number): Chance => new Chance(caseSeed(context.seed, 6_000_000 + round * 10_000 + at));
        const clusters = Array.from({ length: count }, (_, at) => zoneCase(chance(at + 1), at, loopback, ports));
        const loadAssignment = { clusterName: "local_cluster", endpoints: callerZones(chance(0)) };
        const local = {
          name: "local_cluster",
          clusterDiscoveryType: { case: "type" as const, value: Cluster_DiscoveryType.STATIC },
          connectTimeout: duration(5_000),
          loadAssignment,
        };
        const bytes = toBinary(ClusterLoadAssignmentSchema, create(ClusterLoadAssignmentSchema, loadAssignment));
        const callers = endpointType.decode(bytes, decodeOptions).value;
        const found = await compareShares(context, {
          name: `zones-${round}`,
          clusters,
          bootstrap: {
            node: { id: "caller", cluster: "callers", locality: ownZone },
            clusterManager: { localClusterName: "local_cluster" },
            staticResources: { clusters: [local] },
          },
          ours: (cluster) => ours(cluster, callers),
        });
        differences.push(
          ...found.map((each) => ({ ...each, at: `callers ${round}, ${each.at}`, config: [local, each.config] })),
        );
      }
    } finally {
      await Promise.all(echoes.map((each) => each.close()));
    }
    return concluded(context, "distributions", count * envoys, differences);
  },
};

/** Our way: bytes → decoder, with the callers as the client of the control plane puts them there. */
function ours(cluster: Init<typeof ClusterSchema>, callers: EndpointSet): ClusterConfig {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, cluster));
  const { zoneAware, ...decoded } = clusterType.decode(bytes, decodeOptions).value;
  const zones = zoneAware && { ...zoneAware, local: { locality: ownZone, endpoints: callers } };
  return { ...decoded, zoneAware: zones } as ClusterConfig;
}
