import type { BalancerConfig } from "../../config.ts";
import type { Clock } from "../../env.ts";
import type { Sliced } from "../../slices.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { EdfSchedule } from "./edf.ts";
import { unequalWeights } from "./round-robin.ts";
import { loaded, slowStart } from "./slow-start.ts";

/**
 * Least request by the power of two choices (Envoy `LEAST_REQUEST`, the default of Istio): draws `choices` endpoints
 * and takes the one with the fewest attempts in flight. A draw never repeats the best so far, which matters when there
 * are few. With unequal weights Envoy turns to a weighted rotation in which load lowers the weight,
 * `weight / (active + 1) ^ bias`, and so does this.
 */
export function* leastRequest(
  endpoints: readonly Endpoint[],
  { choices, bias = 1, slowStart: ramp }: BalancerConfig & { kind: "least_request" },
  dice: Dice,
  clock: Clock,
): Sliced<Picker> {
  const settled = (): Sliced<Picker> => drawn(endpoints, choices, bias, dice);
  return yield* ramp === undefined ? settled() : slowStart(ramp, endpoints, bias, clock.now(), dice, settled);
}

function* drawn(endpoints: readonly Endpoint[], choices: number, bias: number, dice: Dice): Sliced<Picker> {
  const n = endpoints.length;
  const weights = yield* unequalWeights(endpoints);
  if (weights !== undefined) return weighted(endpoints, weights, bias, yield* EdfSchedule.of(weights, dice));
  if (n === 1) return { pick: () => endpoints[0]! };
  const others = Math.max(1, choices - 1);
  return {
    pick() {
      let best = dice.below(n);
      let load = endpoints[best]!.known.active;
      for (let i = 0; i < others; i++) {
        let next = dice.below(n - 1);
        if (next >= best) next++;
        const active = endpoints[next]!.known.active;
        if (active < load) {
          best = next;
          load = active;
        }
      }
      return endpoints[best]!;
    },
  };
}

function weighted(endpoints: readonly Endpoint[], weights: Float64Array, bias: number, schedule: EdfSchedule): Picker {
  return {
    pick() {
      const at = schedule.first();
      const endpoint = endpoints[at]!;
      schedule.advance(loaded(weights[at]!, endpoint.known.active, bias));
      return endpoint;
    },
  };
}
