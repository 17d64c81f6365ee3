import { create, toBinary } from "@bufbuild/protobuf";
import { Cluster_LbPolicy, ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { LeastRequestSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js";
import { PeakEwmaSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma_pb.js";
import { RandomSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/random/v3/random_pb.js";
import { RoundRobinSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js";
import { WrrLocalitySchema } from "@trama/proto/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js";
import { expect, test } from "vitest";

import { any, edsCluster } from "../../../../test/kit/xds-resources.ts";
import { clusterType } from "./cluster.ts";
import type { DecodedZoneAware } from "./zone-aware.ts";

type More = Parameters<typeof edsCluster>[1];
const options = { regex: () => undefined, certificateProviders: new Set<string>() };

function read(more: More): DecodedZoneAware | undefined {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, edsCluster("c", more)));
  return clusterType.decode(bytes, options).value.zoneAware;
}

const zones = (value: object = {}) => ({
  localityConfigSpecifier: { case: "zoneAwareLbConfig", value } as const,
});
const weighted = { localityConfigSpecifier: { case: "localityWeightedLbConfig", value: {} } as const };
const list = (typedConfig: ReturnType<typeof any>) => ({
  policies: [{ typedExtensionConfig: { name: "x", typedConfig } }],
});
const defaults = { routingPercent: 100, minClusterSize: 6, failOnPanic: false };

test("the older field: Envoy's defaults, and each knob", () => {
  expect(read({ commonLbConfig: zones() })).toEqual(defaults);
  const value = { routingEnabled: { value: 12.6 }, minClusterSize: 2n, failTrafficOnPanic: true };
  expect(read({ commonLbConfig: zones(value) })).toEqual({ routingPercent: 13, minClusterSize: 2, failOnPanic: true });
});

test("off: not a word, and weights of localities; with none of the calls weights do not count either", () => {
  expect(read({})).toBeUndefined();
  expect(read({ commonLbConfig: {} })).toBeUndefined();
  expect(read({ commonLbConfig: weighted })).toBeUndefined();
  expect(read({ commonLbConfig: zones({ routingEnabled: { value: 0 } }) })).toEqual({ ...defaults, routingPercent: 0 });
});

test("the newer field has it in the policies that can, and nothing of the older one counts beside it", () => {
  for (const schema of [RoundRobinSchema, LeastRequestSchema, RandomSchema]) {
    expect(read({ loadBalancingPolicy: list(any(schema, { localityLbConfig: zones() })) })).toEqual(defaults);
    expect(read({ loadBalancingPolicy: list(any(schema, { localityLbConfig: weighted })) })).toBeUndefined();
    expect(read({ loadBalancingPolicy: list(any(schema, {})), commonLbConfig: zones() })).toBeUndefined();
  }
  // Which has no field for it.
  expect(read({ loadBalancingPolicy: list(any(PeakEwmaSchema, {})), commonLbConfig: zones() })).toEqual(defaults);
  // Weights and zones exclude each other.
  const inner = list(any(RoundRobinSchema, { localityLbConfig: zones() }));
  expect(read({ loadBalancingPolicy: list(any(WrrLocalitySchema, { endpointPickingPolicy: inner })) })).toBeUndefined();
});

test("a share that is none is refused, with its place", () => {
  const bad = zones({ routingEnabled: { value: 101 } });
  expect(() => read({ commonLbConfig: bad })).toThrow(
    "common_lb_config.zone_aware_lb_config: routing_enabled 101 is not between 0 and 100",
  );
  const policy = list(any(RandomSchema, { localityLbConfig: bad }));
  expect(() => read({ lbPolicy: Cluster_LbPolicy.RANDOM, loadBalancingPolicy: policy })).toThrow(
    "load_balancing_policy.locality_lb_config.zone_aware_lb_config: routing_enabled 101",
  );
});
