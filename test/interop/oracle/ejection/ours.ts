import { create, toBinary } from "@bufbuild/protobuf";
import { MeshError } from "@trama/engine";
import type { ClusterConfig } from "@trama/engine";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { Cluster } from "../../../../packages/engine/src/cluster/cluster.ts";
import type { Endpoint } from "../../../../packages/engine/src/cluster/endpoint.ts";
import { BARRED } from "../../../../packages/engine/src/cluster/endpoint-load.ts";
import { State } from "../../../../packages/engine/src/state.ts";
import { clusterType } from "../../../../packages/xds/src/resources/cluster.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import type { Init } from "../../envoy/observe.ts";
import { decodeOptions } from "../routes/ours.ts";
import type { Outcome } from "./cases.ts";

export interface OurDetection {
  /** Tells of one request at an endpoint, and gives all that are out then, in order of their addresses. */
  after(address: string, outcome: Outcome | "refused"): string[];
  /** Lets time pass, by a clock of its own, and gives all that are out then. */
  later(ms: number): string[];
}

/** Our way: bytes → decoder → cluster, which is told what Envoy's endpoints did, in the order in which they did it. */
export function ourDetection(cluster: Init<typeof ClusterSchema>, seed: number): OurDetection {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, cluster));
  const config = clusterType.decode(bytes, decodeOptions).value as ClusterConfig;
  const env = testEnv({ seed });
  const compiled = new Cluster(config, env, new State());
  const endpoints = new Map<string, Endpoint>();
  const count = config.endpoints.priorities[0]![0]!.endpoints.length;
  for (const call = makeCall(); endpoints.size < count;) {
    const picked = compiled.picker.pick(call);
    if (picked instanceof MeshError) throw picked;
    endpoints.set(picked.config.address, picked);
  }
  const out = (): string[] =>
    [...endpoints.values()]
      .filter(({ load }) => (load.barred & BARRED.ejected) !== 0)
      .map(({ config: each }) => each.address)
      .toSorted();
  return {
    after(address, outcome) {
      const endpoint = endpoints.get(address)!;
      const status = typeof outcome === "number" ? outcome : 0;
      compiled.attemptEnded(endpoint, status, -1, errorOf(outcome), -1, true);
      return out();
    },
    later(ms) {
      env.clock.advance(ms);
      return out();
    },
  };
}

function errorOf(outcome: Outcome | "refused"): MeshError | undefined {
  if (outcome === "reset") return new MeshError("RESET", "closed", { sent: true });
  return outcome === "refused" ? new MeshError("CONNECT_FAILED", "refused") : undefined;
}
