import type { BalancerConfig } from "../../config.ts";
import type { Clock } from "../../env.ts";
import type { Cursor } from "../../state.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { EdfSchedule } from "./edf.ts";
import { slowStart } from "./slow-start.ts";

/**
 * Round robin (Envoy `ROUND_ROBIN`). Equal weights turn a cursor that lives in keyed state, so that a change of one
 * endpoint does not send everybody back to the first; unequal weights follow an {@link EdfSchedule}.
 */
export function roundRobin(
  endpoints: readonly Endpoint[],
  { slowStart: ramp }: BalancerConfig & { kind: "round_robin" },
  cursor: () => Cursor,
  dice: Dice,
  clock: Clock,
): Picker {
  const settled = (): Picker => rotation(endpoints, cursor(), dice);
  return ramp === undefined ? settled() : slowStart(ramp, endpoints, 0, clock.now(), dice, settled);
}

function rotation(endpoints: readonly Endpoint[], cursor: Cursor, dice: Dice): Picker {
  const weights = unequalWeights(endpoints);
  if (weights !== undefined) return weighted(endpoints, weights, new EdfSchedule(weights, dice));
  const n = endpoints.length;
  return {
    pick() {
      const at = cursor.value % n;
      cursor.value = at + 1;
      return endpoints[at]!;
    },
  };
}

function weighted(endpoints: readonly Endpoint[], weights: Float64Array, schedule: EdfSchedule): Picker {
  return {
    pick() {
      const at = schedule.first();
      schedule.advance(weights[at]!);
      return endpoints[at]!;
    },
  };
}

/** The weights, or `undefined` when they are all the same and need no schedule. */
export function unequalWeights(endpoints: readonly Endpoint[]): Float64Array | undefined {
  const first = endpoints[0]?.config.weight;
  if (endpoints.every((endpoint) => endpoint.config.weight === first)) return undefined;
  return Float64Array.from(endpoints, (endpoint) => endpoint.config.weight);
}
