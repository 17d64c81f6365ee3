import type { BalancerConfig, ClusterConfig } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { Breaker } from "../resilience/breaker.ts";
import { newClusterState } from "../state.ts";
import type { ClusterState, State } from "../state.ts";
import { Dice } from "./dice.ts";
import { rollDrops } from "./drops.ts";
import type { Endpoint } from "./endpoint.ts";
import { byLocality } from "./locality.ts";
import type { Picker } from "./picker.ts";
import { leastRequest } from "./pickers/p2c.ts";
import { randomPicker } from "./pickers/random.ts";
import { roundRobin } from "./pickers/round-robin.ts";
import { usable } from "./priority.ts";

/**
 * A cluster of one snapshot, ready to pick from. Rebuilt whole when anything about it changes; what it counts lives in
 * keyed state, so a rebuilt one goes on where the last one stood.
 */
export class Cluster {
  readonly config: ClusterConfig;
  readonly picker: Picker;
  readonly breaker: Breaker;
  /** Those that the picker picks from, in no order. */
  readonly #endpoints: readonly Endpoint[];
  readonly #random: () => number;
  readonly #release: () => void;

  constructor(config: ClusterConfig, env: Env, state: State) {
    const shared = state.clusters.use(config.name, newClusterState);
    const cursors: string[] = [];
    this.config = config;
    this.breaker = new Breaker(config.breaker, shared);
    const endpoints: Endpoint[] = [];
    this.picker = buildPicker(config, shared, cursors, env.random, endpoints);
    this.#endpoints = endpoints;
    this.#random = env.random;
    this.#release = () => {
      for (const key of cursors) shared.cursors.release(key);
      for (const priority of config.endpoints.priorities)
        for (const locality of priority)
          for (const endpoint of locality.endpoints) shared.endpoints.release(endpoint.address);
      state.clusters.release(config.name);
    };
  }

  /** Whether this attempt is among those that the control plane wants dropped. */
  drop(): MeshError | undefined {
    const drops = this.config.endpoints.drops;
    return drops.length === 0 ? undefined : rollDrops(drops, this.#random);
  }

  /**
   * An endpoint that was not tried yet, for a retry whose picks keep falling on those that were: with few endpoints, the dead one
   * is the least loaded, and least request picks it every time. Looks at no more than one endpoint beyond those tried.
   */
  untried(tried: (endpoint: Endpoint) => boolean): Endpoint | undefined {
    const endpoints = this.#endpoints;
    const start = Math.floor(this.#random() * endpoints.length);
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[(start + i) % endpoints.length]!;
      if (!tried(endpoint)) return endpoint;
    }
    return undefined;
  }

  /** Ends this cluster's use of the keyed state: its snapshots are gone, and so are their calls. Called once. */
  dispose(): void {
    this.#release();
  }
}

function buildPicker(
  config: ClusterConfig,
  shared: ClusterState,
  cursors: string[],
  random: () => number,
  all: Endpoint[],
): Picker {
  // Every endpoint is held, usable or not: one that is unhealthy for a while keeps the count of what it still does.
  for (const priority of config.endpoints.priorities)
    for (const locality of priority)
      for (const endpoint of locality.endpoints) shared.endpoints.use(endpoint.address, newLoad);
  const serving = usable(config.endpoints);
  if (serving === undefined) return nobody(config.name);
  const dice = new Dice(random);
  const pickers: Picker[] = [];
  const weights: number[] = [];
  for (const { locality, weight, endpoints } of serving.localities) {
    const ready = endpoints.map((each): Endpoint => ({ config: each, load: shared.endpoints.get(each.address)! }));
    for (const each of ready) all.push(each);
    const key = `${serving.priority}/${locality.region}/${locality.zone}/${locality.subZone}`;
    pickers.push(balancer(config.balancer, ready, key, shared, cursors, dice));
    weights.push(weight);
  }
  return byLocality(pickers, weights, dice);
}

function balancer(
  config: BalancerConfig,
  endpoints: readonly Endpoint[],
  key: string,
  shared: ClusterState,
  cursors: string[],
  dice: Dice,
): Picker {
  switch (config.kind) {
    case "round_robin": {
      cursors.push(key);
      // A random start: processes that start together must not march together.
      const cursor = shared.cursors.use(key, () => ({ value: dice.below(endpoints.length) }));
      return roundRobin(endpoints, cursor, dice);
    }
    case "least_request":
      return leastRequest(endpoints, config.choices, dice);
    case "random":
      return randomPicker(endpoints, dice);
  }
}

function nobody(name: string): Picker {
  return { pick: () => new MeshError("NO_HEALTHY_ENDPOINT", `no healthy endpoint in cluster ${name}`) };
}

function newLoad(): { active: number } {
  return { active: 0 };
}
