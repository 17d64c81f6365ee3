import type { BalancerConfig, ClusterConfig } from "../../packages/engine/src/config.ts";
import { RouteKey, compileHash } from "../../packages/engine/src/hash/call-key.ts";
import { makeCall } from "../kit/call.ts";
import { testEnv } from "../kit/env.ts";
import { cluster, endpoints } from "../kit/mesh-config.ts";

/** What picks are measured on: clusters of 10,000 endpoints under every balancer, and calls that know their keys. */
export const N = 10_000;
export const balancers: BalancerConfig[] = [
  { kind: "least_request", choices: 2 },
  { kind: "round_robin" },
  { kind: "random" },
  { kind: "peak_ewma", decayMs: 10_000, defaultRttMs: 10, penaltyMs: 5_000 },
  { kind: "pick_first", shuffle: false },
  { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined },
  { kind: "maglev", tableSize: 65_537, balanceFactor: undefined },
];
export const weights = { equal: () => ({}), unequal: (at: number) => ({ weight: 1 + (at % 7) }) };
export const env = { ...testEnv(), random: Math.random };
export const call = makeCall();
export const byUser = compileHash([{ kind: "header", name: "user", rewrite: undefined, terminal: false }], env, () => ({
  value: 1,
}))!;
/** For those who hash: what calls of many users look like once they know their keys. */
export const keyed = Array.from({ length: 256 }, (_, at) => {
  const made = makeCall({ headers: { user: `user-${at}` } });
  const key = new RouteKey(byUser);
  made.key = key;
  key.known(made);
  return made;
});

export function set(balancer: BalancerConfig, weight: keyof typeof weights): ClusterConfig {
  return cluster("c", { endpoints: endpoints(N, weights[weight]), balancer });
}
