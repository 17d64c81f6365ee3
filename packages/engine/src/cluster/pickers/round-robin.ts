import type { BalancerConfig } from "../../config.ts";
import type { Clock } from "../../env.ts";
import { inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
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
export function* roundRobin(
  endpoints: readonly Endpoint[],
  { slowStart: ramp }: BalancerConfig & { kind: "round_robin" },
  cursor: () => Cursor,
  dice: Dice,
  clock: Clock,
): Sliced<Picker> {
  const settled = (): Sliced<Picker> => rotation(endpoints, cursor(), dice);
  return yield* ramp === undefined ? settled() : slowStart(ramp, endpoints, 0, clock.now(), dice, settled);
}

function* rotation(endpoints: readonly Endpoint[], cursor: Cursor, dice: Dice): Sliced<Picker> {
  const weights = yield* unequalWeights(endpoints);
  if (weights !== undefined) return weighted(endpoints, weights, yield* EdfSchedule.of(weights, dice));
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
export function* unequalWeights(endpoints: readonly Endpoint[]): Sliced<Float64Array | undefined> {
  const weights = new Float64Array(endpoints.length);
  let unequal = false;
  yield* inParts(endpoints.length, (from, to) => {
    for (let at = from; at < to; at++) {
      weights[at] = endpoints[at]!.config.weight;
      if (weights[at] !== weights[0]) unequal = true;
    }
  });
  return unequal ? weights : undefined;
}
