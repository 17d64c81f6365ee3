import { create, toBinary } from "@bufbuild/protobuf";
import type { BalancerConfig } from "@trama/engine";
import { Cluster_LbPolicy, ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { LeastRequestSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js";
import { MaglevSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js";
import { PeakEwmaSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma_pb.js";
import { PickFirstSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/pick_first/v3/pick_first_pb.js";
import { RandomSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/random/v3/random_pb.js";
import { RingHashSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js";
import { RoundRobinSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js";
import { WrrLocalitySchema } from "@trama/proto/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js";
import { BootstrapSchema } from "@trama/proto/envoy/config/bootstrap/v3/bootstrap_pb.js";
import { describe, expect, test } from "vitest";

import { any, duration, edsCluster } from "../../../../test/kit/xds-resources.ts";
import { clusterType } from "./cluster.ts";

type More = Parameters<typeof edsCluster>[1];
const options = { regex: () => undefined, certificateProviders: new Set<string>() };

function read(more: More): BalancerConfig {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, edsCluster("c", more)));
  return clusterType.decode(bytes, options).value.balancer;
}

const list = (...configs: ReturnType<typeof any>[]) => ({
  policies: configs.map((typedConfig) => ({ typedExtensionConfig: { name: "x", typedConfig } })),
});
const typed = (...configs: ReturnType<typeof any>[]): BalancerConfig => read({ loadBalancingPolicy: list(...configs) });
const ramp = {
  slowStartWindow: duration(60_000),
  aggression: { defaultValue: 2, runtimeKey: "" },
  minWeightPercent: { value: 5 },
};
const slowStart = { windowMs: 60_000, minPercent: 5, aggression: 2 };
const ring = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined };
const table = { kind: "maglev", tableSize: 65_537, balanceFactor: undefined };

describe("lb_policy and its configuration", () => {
  test("round robin and least request, with slow start and bias", () => {
    const { ROUND_ROBIN, LEAST_REQUEST } = Cluster_LbPolicy;
    const roundRobin = { case: "roundRobinLbConfig", value: { slowStartConfig: ramp } } as const;
    expect(read({ lbPolicy: ROUND_ROBIN, lbConfig: roundRobin })).toEqual({ kind: "round_robin", slowStart });
    const value = { choiceCount: 3, activeRequestBias: { defaultValue: 0.5, runtimeKey: "" }, slowStartConfig: ramp };
    const leastRequest = { case: "leastRequestLbConfig", value } as const;
    expect(read({ lbPolicy: LEAST_REQUEST, lbConfig: leastRequest })).toEqual({
      kind: "least_request",
      choices: 3,
      bias: 0.5,
      slowStart,
    });
    const unset = { case: "roundRobinLbConfig", value: { slowStartConfig: {} } } as const;
    expect(read({ lbPolicy: ROUND_ROBIN, lbConfig: unset })).toEqual({ kind: "round_robin" });
  });

  test("ring hash and Maglev, with Envoy's defaults and its factor for both", () => {
    const { RING_HASH, MAGLEV } = Cluster_LbPolicy;
    expect(read({ lbPolicy: RING_HASH })).toEqual(ring);
    expect(read({ lbPolicy: MAGLEV })).toEqual(table);
    const commonLbConfig = { consistentHashingLbConfig: { hashBalanceFactor: 150 } };
    const sizes = { case: "ringHashLbConfig", value: { minimumRingSize: 7n, maximumRingSize: 9n } } as const;
    expect(read({ lbPolicy: RING_HASH, lbConfig: sizes, commonLbConfig })).toEqual({
      kind: "ring_hash",
      minSize: 7,
      maxSize: 9,
      balanceFactor: 150,
    });
    const size = { case: "maglevLbConfig", value: { tableSize: 251n } } as const;
    expect(read({ lbPolicy: MAGLEV, lbConfig: size, commonLbConfig })).toMatchObject({
      tableSize: 251,
      balanceFactor: 150,
    });
  });
});

describe("load_balancing_policy", () => {
  test("every policy", () => {
    expect(typed(any(RoundRobinSchema, { slowStartConfig: ramp }))).toEqual({ kind: "round_robin", slowStart });
    expect(typed(any(RandomSchema, {}))).toEqual({ kind: "random" });
    expect(typed(any(PickFirstSchema, { shuffleAddressList: true }))).toEqual({ kind: "pick_first", shuffle: true });
    expect(typed(any(LeastRequestSchema, { choiceCount: 4 }))).toEqual({ kind: "least_request", choices: 4 });
    expect(typed(any(RingHashSchema, { hashFunction: 1 }))).toEqual(ring);
    expect(typed(any(RingHashSchema, { hashBalanceFactor: 120 }))).toEqual({ ...ring, balanceFactor: 120 });
    const newer = { consistentHashingLbConfig: { hashBalanceFactor: 130 } };
    expect(typed(any(RingHashSchema, { ...newer, hashBalanceFactor: 120 }))).toEqual({ ...ring, balanceFactor: 130 });
    expect(typed(any(MaglevSchema, newer))).toEqual({ ...table, balanceFactor: 130 });
    expect(typed(any(PeakEwmaSchema, { decayTime: duration(2_000) }))).toEqual({
      kind: "peak_ewma",
      decayMs: 2_000,
      defaultRttMs: 10,
      penaltyMs: 5_000,
    });
  });

  test("the first that is known wins, also inside the wrapper for localities; lb_policy is then not looked at", () => {
    const unknown = any(BootstrapSchema, {});
    const inner = list(unknown, any(RandomSchema, {}), any(RoundRobinSchema, {}));
    const wrapped = any(WrrLocalitySchema, { endpointPickingPolicy: inner });
    expect(read({ lbPolicy: Cluster_LbPolicy.MAGLEV, loadBalancingPolicy: list(unknown, wrapped) })).toEqual({
      kind: "random",
    });
    expect(() => typed(unknown)).toThrow("load_balancing_policy: it names no policy that is supported");
  });
});

test.each<[string, () => unknown]>([
  [
    "minimum_ring_size 9 is greater than maximum_ring_size 8",
    () => typed(any(RingHashSchema, { minimumRingSize: 9n, maximumRingSize: 8n })),
  ],
  ["maximum_ring_size 8388609 is not between", () => typed(any(RingHashSchema, { maximumRingSize: 8_388_609n }))],
  ["hash_function MURMUR_HASH_2 is not supported", () => typed(any(RingHashSchema, { hashFunction: 2 }))],
  ["use_hostname_for_hashing is not supported", () => typed(any(RingHashSchema, { useHostnameForHashing: true }))],
  ["hash_balance_factor 99 must be at least 100", () => typed(any(RingHashSchema, { hashBalanceFactor: 99 }))],
  ["table_size 65536 must be a prime", () => typed(any(MaglevSchema, { tableSize: 65_536n }))],
  [
    "table_size 5000077 must be a prime number, at most 5000011",
    () => typed(any(MaglevSchema, { tableSize: 5_000_077n })),
  ],
  ["choice_count 1", () => typed(any(LeastRequestSchema, { choiceCount: 1 }))],
  ["enable_full_scan is not supported", () => typed(any(LeastRequestSchema, { enableFullScan: true }))],
  [
    "aggression 0 must be greater",
    () => typed(any(RoundRobinSchema, { slowStartConfig: { ...ramp, aggression: { runtimeKey: "" } } })),
  ],
  [
    "min_weight_percent 101",
    () => typed(any(RoundRobinSchema, { slowStartConfig: { ...ramp, minWeightPercent: { value: 101 } } })),
  ],
  ["lb_policy CLUSTER_PROVIDED is not supported", () => read({ lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED })],
])("refused: %s", (message, act) => {
  expect(act).toThrow(message);
});
