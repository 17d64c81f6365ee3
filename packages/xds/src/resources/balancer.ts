import type { BalancerConfig, MaglevConfig, RingHashConfig, SlowStartConfig } from "@trama/engine";
import {
  Cluster_LbPolicy,
  Cluster_RingHashLbConfig_HashFunction,
  LeastRequestSchema,
  MaglevSchema,
  PeakEwmaSchema,
  PickFirstSchema,
  RandomSchema,
  RingHashSchema,
  RingHash_HashFunction,
  RoundRobinSchema,
  WrrLocalitySchema,
} from "@trama/proto/lean";
import type { Cluster, LoadBalancingPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { RuntimeDouble } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { RingHash } from "@trama/proto/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js";
import type { Maglev } from "@trama/proto/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js";
import type { SlowStartConfig as ProtoSlowStart } from "@trama/proto/envoy/extensions/load_balancing_policies/common/v3/common_pb.js";

import { type Typed, openAny } from "./any.ts";
import { durationMs } from "./duration.ts";
import { ResourceError, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { type DecodedZoneAware, type LocalitySpecifier, zoneAware } from "./zone-aware.ts";

/** Which endpoint, and whether the caller's zone counts before that. */
export interface Balancing {
  readonly balancer: BalancerConfig;
  readonly zoneAware?: DecodedZoneAware | undefined;
}

/**
 * The newer field, where it is given, or the older ones: `lb_policy` with its `…_lb_config`, and `common_lb_config`. Both forms mean the
 * same. Envoy takes no `common_lb_config` that speaks of localities beside the newer field; here it counts for the one policy that has
 * no field of its own for them.
 */
export function balancing(cluster: Cluster): Balancing {
  const { loadBalancingPolicy: list, commonLbConfig } = cluster;
  const found = list && within("load_balancing_policy", () => policy(list, 0));
  if (found !== undefined && found.balancer.kind !== "peak_ewma") return found;
  const zones = within("common_lb_config", () => zoneAware(commonLbConfig?.localityConfigSpecifier));
  return { balancer: found?.balancer ?? older(cluster), ...(zones && { zoneAware: zones }) };
}

function older(cluster: Cluster): BalancerConfig {
  const { lbConfig } = cluster;
  switch (cluster.lbPolicy) {
    case Cluster_LbPolicy.ROUND_ROBIN: {
      if (lbConfig.case !== "roundRobinLbConfig") return { kind: "round_robin" };
      return within("round_robin_lb_config", () => roundRobin(lbConfig.value));
    }
    case Cluster_LbPolicy.LEAST_REQUEST: {
      if (lbConfig.case !== "leastRequestLbConfig") return { kind: "least_request", choices: 2 };
      return within("least_request_lb_config", () => leastRequest(lbConfig.value));
    }
    case Cluster_LbPolicy.RANDOM:
      return { kind: "random" };
    case Cluster_LbPolicy.RING_HASH: {
      const { hashFunction, ...sizes } = lbConfig.case === "ringHashLbConfig" ? lbConfig.value : {};
      const murmur = hashFunction === Cluster_RingHashLbConfig_HashFunction.MURMUR_HASH_2;
      return within("ring_hash_lb_config", () => ringHash({ ...sizes, murmur }, commonFactor(cluster)));
    }
    case Cluster_LbPolicy.MAGLEV: {
      const tableSize = lbConfig.case === "maglevLbConfig" ? lbConfig.value.tableSize : undefined;
      return within("maglev_lb_config", () => maglev(tableSize, commonFactor(cluster)));
    }
    default:
      return unsupported(`lb_policy ${Cluster_LbPolicy[cluster.lbPolicy] ?? cluster.lbPolicy}`);
  }
}

const maxPolicyDepth = 16;

/** The first policy that we know wins; the list exists so that a server may put newer ones first (S38). */
function policy(list: LoadBalancingPolicy, depth: number): Balancing {
  if (depth > maxPolicyDepth) throw new ResourceError("it is nested too deeply");
  for (const { typedExtensionConfig } of list.policies) {
    if (typedExtensionConfig?.typedConfig === undefined) continue;
    const found = knownPolicy(openAny(typedExtensionConfig.typedConfig), depth);
    if (found !== undefined) return found;
  }
  throw new ResourceError(
    "it names no policy that is supported: round_robin, least_request, random, pick_first, ring_hash, maglev, peak_ewma",
  );
}

function knownPolicy(typed: Typed, depth: number): Balancing | undefined {
  switch (typed.typeName) {
    case RoundRobinSchema.typeName: {
      const config = typed.as(RoundRobinSchema);
      return inZones(roundRobin(config), config);
    }
    case RandomSchema.typeName:
      return inZones({ kind: "random" }, typed.as(RandomSchema));
    case LeastRequestSchema.typeName: {
      const config = typed.as(LeastRequestSchema);
      return inZones(leastRequest(config), config);
    }
    case WrrLocalitySchema.typeName: {
      // Localities are always weighted here, so the policy inside is all that it says; and weights and zones exclude each other.
      const inner = typed.as(WrrLocalitySchema).endpointPickingPolicy;
      return inner && { balancer: policy(inner, depth + 1).balancer };
    }
    default: {
      const balancer = zonelessPolicy(typed);
      return balancer && { balancer };
    }
  }
}

function inZones(
  balancer: BalancerConfig,
  config: { readonly localityLbConfig?: { readonly localityConfigSpecifier: LocalitySpecifier } | undefined },
): Balancing {
  const zones = within("locality_lb_config", () => zoneAware(config.localityLbConfig?.localityConfigSpecifier));
  return { balancer, ...(zones && { zoneAware: zones }) };
}

/** Those that have no field for it. */
function zonelessPolicy(typed: Typed): BalancerConfig | undefined {
  switch (typed.typeName) {
    case PickFirstSchema.typeName:
      return { kind: "pick_first", shuffle: typed.as(PickFirstSchema).shuffleAddressList };
    case RingHashSchema.typeName: {
      const config = typed.as(RingHashSchema);
      const murmur = config.hashFunction === RingHash_HashFunction.MURMUR_HASH_2;
      return ringHash({ ...config, murmur }, hashFactor(config, config));
    }
    case MaglevSchema.typeName: {
      const config = typed.as(MaglevSchema);
      return maglev(config.tableSize, hashFactor(config, undefined));
    }
    case PeakEwmaSchema.typeName: {
      // How Envoy's threads exchange what they measured, and what a host without a measurement costs there, is none of our business.
      const config = typed.as(PeakEwmaSchema);
      return {
        kind: "peak_ewma",
        decayMs: positive(config.decayTime, "decay_time") ?? 10_000,
        defaultRttMs: positive(config.defaultRtt, "default_rtt") ?? 10,
        penaltyMs: 5_000,
      };
    }
    default:
      return undefined;
  }
}

/** What the older and the newer message have in common, once their own names are gone. */
type SlowStart = Omit<ProtoSlowStart, "$typeName"> | undefined;

function roundRobin(config: { readonly slowStartConfig?: SlowStart }): BalancerConfig {
  onlyFields(config, ["slowStartConfig"], localities);
  return { kind: "round_robin", slowStart: slowStart(config.slowStartConfig) };
}

function leastRequest(config: {
  readonly choiceCount?: number | undefined;
  readonly activeRequestBias?: RuntimeDouble | undefined;
  readonly slowStartConfig?: SlowStart;
}): BalancerConfig {
  onlyFields(config, ["choiceCount", "activeRequestBias", "slowStartConfig"], localities);
  const choices = config.choiceCount ?? 2;
  if (choices < 2) throw new ResourceError(`choice_count ${choices} must be at least 2`);
  const bias = config.activeRequestBias?.defaultValue;
  if (bias !== undefined && !(bias >= 0)) throw new ResourceError(`active_request_bias ${bias} must not be negative`);
  return { kind: "least_request", choices, bias, slowStart: slowStart(config.slowStartConfig) };
}

/** Localities always have their weights here (R45), unless zones count: that is read elsewhere. */
const localities: readonly never[] = ["localityLbConfig" as never];

function slowStart(config: SlowStart): SlowStartConfig | undefined {
  if (config === undefined) return undefined;
  const windowMs = positive(config.slowStartWindow, "slow_start_config.slow_start_window");
  // Envoy: without a window there is no slow start.
  if (windowMs === undefined) return undefined;
  const aggression = config.aggression?.defaultValue ?? 1;
  const minPercent = config.minWeightPercent?.value ?? 10;
  if (!(aggression > 0))
    throw new ResourceError(`slow_start_config.aggression ${aggression} must be greater than zero`);
  if (!(minPercent >= 0 && minPercent <= 100)) {
    throw new ResourceError(`slow_start_config.min_weight_percent ${minPercent} is not between 0 and 100`);
  }
  return { windowMs, minPercent, aggression };
}

function positive(duration: Parameters<typeof durationMs>[0] | undefined, field: string): number | undefined {
  if (duration === undefined) return undefined;
  const ms = durationMs(duration, field);
  if (ms <= 0) throw new ResourceError(`${field} must be greater than zero`);
  return ms;
}

// ── consistent hashing (R47) ─────────────────────────────────────────────────────────────────────────────────────

/** Envoy's bound, and its default for the largest. */
const maxRingSize = 8_388_608n;

function ringHash(
  {
    minimumRingSize: min = 1024n,
    maximumRingSize: max = maxRingSize,
    murmur,
  }: Pick<RingHash, "minimumRingSize" | "maximumRingSize"> & { murmur: boolean },
  balanceFactor: number | undefined,
): RingHashConfig {
  if (murmur) unsupported("hash_function MURMUR_HASH_2");
  for (const [name, size] of [
    ["minimum_ring_size", min],
    ["maximum_ring_size", max],
  ] as const)
    if (size < 1n || size > maxRingSize) throw new ResourceError(`${name} ${size} is not between 1 and ${maxRingSize}`);
  if (min > max) throw new ResourceError(`minimum_ring_size ${min} is greater than maximum_ring_size ${max}`);
  return { kind: "ring_hash", minSize: Number(min), maxSize: Number(max), balanceFactor };
}

function maglev(tableSize: bigint | undefined, balanceFactor: number | undefined): MaglevConfig {
  const size = tableSize ?? 65_537n;
  if (size > 5_000_011n || !isPrime(Number(size))) {
    throw new ResourceError(`table_size ${size} must be a prime number, at most 5000011`);
  }
  return { kind: "maglev", tableSize: Number(size), balanceFactor };
}

function isPrime(n: number): boolean {
  if (n < 2) return false;
  for (let by = 2; by * by <= n; by++) if (n % by === 0) return false;
  return true;
}

interface HashFactor {
  readonly useHostnameForHashing: boolean;
  readonly hashBalanceFactor?: number | undefined;
}

function commonFactor({ commonLbConfig }: Cluster): number | undefined {
  return factor(commonLbConfig?.consistentHashingLbConfig);
}

/** The message of its own replaces the deprecated fields beside it. */
function hashFactor(config: RingHash | Maglev, deprecated: HashFactor | undefined): number | undefined {
  return factor(config.consistentHashingLbConfig ?? deprecated);
}

function factor(config: HashFactor | undefined): number | undefined {
  if (config?.useHostnameForHashing === true) unsupported("use_hostname_for_hashing");
  const found = config?.hashBalanceFactor;
  if (found !== undefined && found < 100) throw new ResourceError(`hash_balance_factor ${found} must be at least 100`);
  return found;
}
