import type { BalancerConfig, MaglevConfig, RingHashConfig } from "../config.ts";
import type { Clock } from "../env.ts";
import type { Sliced } from "../slices.ts";
import type { Cursor } from "../state.ts";
import { AliasTable } from "./alias.ts";
import type { Dice } from "./dice.ts";
import type { Endpoint } from "./endpoint.ts";
import { byLocality } from "./locality.ts";
import type { LocalityHosts } from "./locality.ts";
import type { AttemptObserver } from "./observer.ts";
import type { Picker } from "./picker.ts";
import type { HashedLocality, Hashing } from "./pickers/hashing.ts";
import { leastRequest } from "./pickers/p2c.ts";
import { LatencyObserver, peakEwma } from "./pickers/peak-ewma.ts";
import { pickFirst } from "./pickers/pick-first.ts";
import { randomPicker } from "./pickers/random.ts";
import { roundRobin } from "./pickers/round-robin.ts";

/**
 * The picker inside one locality. `rotation` is a number that survives a rebuild, for those who need one: a position, a seed.
 * Never asked for by those who hash; see {@link overLocalities}.
 */
export function* insideLocality(
  config: BalancerConfig,
  endpoints: readonly Endpoint[],
  rotation: () => Cursor,
  dice: Dice,
  clock: Clock,
): Sliced<Picker> {
  switch (config.kind) {
    case "round_robin":
      return yield* roundRobin(endpoints, config, rotation, dice, clock);
    case "least_request":
      return yield* leastRequest(endpoints, config, dice, clock);
    case "random":
    case "ring_hash":
    case "maglev":
      return yield* randomPicker(endpoints, dice);
    case "pick_first":
      return pickFirst(endpoints, config.shuffle ? rotation() : undefined);
    case "peak_ewma":
      return peakEwma(config, endpoints, dice);
  }
}

/**
 * The picker of one priority: a locality first, then inside it; or, with consistent hashing, one table over all of them (R45), whose
 * shares a locality that is partly unhealthy keeps, as in Envoy. `hashing`: where they hash, who keeps the table. `undefined`: there is nobody.
 */
export function* overLocalities(
  localities: readonly LocalityHosts[],
  panic: boolean,
  overprovisioning: number,
  dice: Dice,
  hashing: ((localities: readonly HashedLocality[]) => Hashing) | undefined,
): Sliced<Picker | undefined> {
  if (hashing === undefined) return yield* byLocality(localities, panic, overprovisioning, dice);
  const serving = localities
    .map(({ weight, endpoints, ready }) => ({ weight, ready: panic ? endpoints : ready }))
    .filter(({ ready }) => ready.length > 0);
  return serving.length === 0 ? undefined : yield* hashing(serving).over(serving, panic);
}

/** A priority first, by its share of the load in percent; where calls have keys, by the key (Envoy `choosePriority`). */
export function acrossPriorities(
  config: BalancerConfig,
  pickers: readonly Picker[],
  percents: readonly number[],
  dice: Dice,
): Picker {
  const table = new AliasTable(percents);
  const drawn = (): Picker => pickers[table.draw(dice)]!;
  if (!hashes(config)) return { pick: (call, selection) => drawn().pick(call, selection) };
  return {
    pick(call, selection) {
      const { key } = call;
      if (key?.known(call) !== true) return drawn().pick(call, selection);
      // 2^32 is 96 modulo 100.
      let place = (((key.high >>> 0) % 100) * 96 + (key.low >>> 0)) % 100;
      let at = 0;
      while (place >= percents[at]! && at < pickers.length - 1) place -= percents[at++]!;
      return pickers[at]!.pick(call, selection);
    },
  };
}

/** Whether one table holds all endpoints of a priority, whatever their locality. */
export function hashes(config: BalancerConfig): config is RingHashConfig | MaglevConfig {
  return config.kind === "ring_hash" || config.kind === "maglev";
}

/** Who learns from the ends of attempts. */
export function learners(config: BalancerConfig, clock: Clock): readonly AttemptObserver[] {
  return config.kind === "peak_ewma" ? [new LatencyObserver(config, clock)] : [];
}

/** Whether the balancer wants to know since when an endpoint has been ready. */
export function ramps(config: BalancerConfig): boolean {
  return (config.kind === "round_robin" || config.kind === "least_request") && config.slowStart !== undefined;
}
