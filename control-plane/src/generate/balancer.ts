import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import {
  Cluster_LbPolicy,
  type ClusterSchema,
  type Cluster_SlowStartConfigSchema,
  type LoadBalancingPolicySchema,
} from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { RouteAction_HashPolicySchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { LeastRequestSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js";
import { PeakEwmaSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma_pb.js";
import {
  RingHashSchema,
  RingHash_HashFunction,
} from "@trama/proto/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js";
import { RoundRobinSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js";
import { WrrLocalitySchema } from "@trama/proto/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js";

import type { Balancer, HashKey, Warmup } from "../model/balancer.ts";
import type { NodeView } from "../snapshot.ts";
import { durationOf, pack } from "./wire.ts";

type BalancerFields = Pick<MessageInitShape<typeof ClusterSchema>, "lbPolicy" | "lbConfig" | "loadBalancingPolicy">;

/** Each class of client gets what it can read: one value that it does not know would make it refuse every cluster of the answer (S38). */
export function balancerFields(balancer: Balancer | undefined, kind: NodeView["kind"]): BalancerFields {
  if (kind === "grpc") return grpcFields(balancer);
  switch (balancer?.kind) {
    case "round_robin":
      return {
        lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
        ...(balancer.warmup && {
          lbConfig: { case: "roundRobinLbConfig", value: { slowStartConfig: slowStart(balancer.warmup) } },
        }),
      };
    case "random":
      return { lbPolicy: Cluster_LbPolicy.RANDOM };
    case "hash": {
      const { table } = balancer;
      if (table.kind === "maglev")
        return {
          lbPolicy: Cluster_LbPolicy.MAGLEV,
          lbConfig: { case: "maglevLbConfig", value: { tableSize: BigInt(table.size) } },
        };
      return {
        lbPolicy: Cluster_LbPolicy.RING_HASH,
        lbConfig: { case: "ringHashLbConfig", value: { minimumRingSize: BigInt(table.minimumSize) } },
      };
    }
    case "peak_ewma":
      return {
        lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
        // Envoy knows it in its contrib builds alone, and there only together with a filter that measures.
        ...(kind === "trama" && { loadBalancingPolicy: list(pack(PeakEwmaSchema, {}), pack(LeastRequestSchema, {})) }),
      };
    case "passthrough":
      return { lbPolicy: Cluster_LbPolicy.LEAST_REQUEST };
    default:
      return {
        lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
        ...(balancer?.warmup && {
          lbConfig: { case: "leastRequestLbConfig", value: { slowStartConfig: slowStart(balancer.warmup) } },
        }),
      };
  }
}

/**
 * All of gRPC's libraries know round robin. Those that know the newer field and ring hash (gRFC A42, A52) keep calls of one key
 * together too, on a ring of the default size; a Maglev table is as good as a ring to them, which is all they have.
 */
function grpcFields(balancer: Balancer | undefined): BalancerFields {
  const lbPolicy = Cluster_LbPolicy.ROUND_ROBIN;
  if (balancer?.kind !== "hash") return { lbPolicy };
  // Without its size: grpc-js-xds 1.14 takes the number for a text and refuses the cluster.
  const ring = pack(RingHashSchema, { hashFunction: RingHash_HashFunction.XX_HASH });
  const rotation = pack(WrrLocalitySchema, { endpointPickingPolicy: list(pack(RoundRobinSchema, {})) });
  return { lbPolicy, loadBalancingPolicy: list(ring, rotation) };
}

/** The first that a client knows counts. */
function list(...configs: readonly Any[]): MessageInitShape<typeof LoadBalancingPolicySchema> {
  return {
    policies: configs.map((typedConfig) => ({
      typedExtensionConfig: {
        name: typedConfig.typeUrl.replace(/^.*\.(\w+)\.v\w+\.\w+$/, "envoy.load_balancing_policies.$1"),
        typedConfig,
      },
    })),
  };
}

function slowStart({
  windowMs,
  minPercent,
  aggression,
}: Warmup): MessageInitShape<typeof Cluster_SlowStartConfigSchema> {
  return {
    slowStartWindow: durationOf(windowMs),
    minWeightPercent: { value: minPercent },
    aggression: { defaultValue: aggression, runtimeKey: "upstream.slow_start.aggression" },
  };
}

/** What a route hashes for the balancers of its destinations; each property once, in order. */
export function hashPolicies(
  keys: readonly HashKey[],
): readonly Exclude<MessageInitShape<typeof RouteAction_HashPolicySchema>, { $typeName: string }>[] {
  const once = new Map(keys.map((key) => [JSON.stringify(key), key]));
  return [...once.values()].map((key) => ({ policySpecifier: specifier(key) }));
}

function specifier(
  key: HashKey,
): NonNullable<
  Exclude<MessageInitShape<typeof RouteAction_HashPolicySchema>, { $typeName: string }>["policySpecifier"]
> {
  switch (key.kind) {
    case "header":
      return { case: "header", value: { headerName: key.name } };
    case "query":
      return { case: "queryParameter", value: { name: key.name } };
    case "source":
      return { case: "connectionProperties", value: { sourceIp: true } };
    case "cookie": {
      const { name, path, ttlMs, attributes } = key;
      return {
        case: "cookie",
        value: { name, path, attributes: [...attributes], ...(ttlMs === undefined ? {} : { ttl: durationOf(ttlMs) }) },
      };
    }
  }
}
