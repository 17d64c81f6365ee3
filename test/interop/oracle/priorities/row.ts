import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import type { ClusterConfig } from "../../../../packages/engine/src/config.ts";
import { clusterType } from "../../../../packages/xds/src/resources/cluster.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { compareShares, requestsPerCase } from "../endpoint-shares.ts";
import { decodeOptions } from "../routes/ours.ts";
import { priorityCase } from "./cases.ts";

const loopback = "127.0.0.1";
const backends = 12;

/** Priorities, localities and panic with some endpoints down: every endpoint gets the same share in Envoy and with us. */
export const prioritiesRow: Capability = {
  name: "oracle: priorities and panic",
  limitMs: 180_000,
  async run(context) {
    const echoes = await Promise.all(Array.from({ length: backends }, () => startEcho(loopback)));
    const ports = echoes.map(({ port }) => port);
    const count = Math.ceil((context.requests * 0.2) / requestsPerCase);
    const clusters = Array.from({ length: count }, (_, at) =>
      priorityCase(new Chance(caseSeed(context.seed, 5_000_000 + at)), at, loopback, ports),
    );
    context.progress(`${count} clusters with endpoints down, ${requestsPerCase} requests each, seed ${context.seed}`);
    try {
      const differences = await compareShares(context, { name: "priorities", clusters, ours });
      return concluded(context, "distributions", count, differences);
    } finally {
      await Promise.all(echoes.map((each) => each.close()));
    }
  },
};

/** Our way: bytes → decoder. */
function ours(cluster: Init<typeof ClusterSchema>): ClusterConfig {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, cluster));
  return clusterType.decode(bytes, decodeOptions).value as ClusterConfig;
}
