import type { SlowStartConfig } from "../../config.ts";
import { finish, inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { EdfSchedule } from "./edf.ts";

/** The share of its weight that an endpoint of this age has (Envoy `slow_start_config`). */
export function rampedShare({ windowMs, minPercent, aggression }: SlowStartConfig, ageMs: number): number {
  if (ageMs >= windowMs) return 1;
  // The first millisecond counts as one, so that a minimum of 0 does not mean "never".
  const progress = Math.max(ageMs, 1) / windowMs;
  return Math.max(aggression === 1 ? progress : progress ** (1 / aggression), minPercent / 100);
}

/**
 * While some endpoint is younger than the window: a rotation by weights that grow with age and, for least request, shrink with
 * load (`bias`; 0 = load does not matter). After that, and where all are of one age and a ramp would change nothing, `settled`.
 *
 * Age is what the monotonic clock says between readiness, which keyed state remembers, and the start of the call.
 */
export function* slowStart(
  config: SlowStartConfig,
  endpoints: readonly Endpoint[],
  bias: number,
  nowMs: number,
  dice: Dice,
  settled: () => Sliced<Picker>,
): Sliced<Picker> {
  let oldest = Infinity;
  let youngest = -Infinity;
  yield* inParts(endpoints.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const { readyMs } = endpoints[at]!.known;
      oldest = Math.min(oldest, readyMs);
      youngest = Math.max(youngest, readyMs);
    }
  });
  const endsMs = youngest + config.windowMs;
  if (nowMs >= endsMs || oldest === youngest) return yield* settled();

  const weight = (at: number, ms: number): number => {
    const { config: endpoint, known } = endpoints[at]!;
    return endpoint.weight * rampedShare(config, ms - known.readyMs);
  };
  const weights = new Float64Array(endpoints.length);
  yield* inParts(endpoints.length, (from, to) => {
    for (let at = from; at < to; at++) weights[at] = weight(at, nowMs);
  });
  const schedule = yield* EdfSchedule.of(weights, dice);
  let after: Picker | undefined;
  return {
    pick(call, selection) {
      const { startMs } = call.record;
      if (startMs >= endsMs) return (after ??= finish(settled())).pick(call, selection);
      const at = schedule.first();
      const endpoint = endpoints[at]!;
      schedule.advance(loaded(weight(at, startMs), endpoint.known.active, bias));
      return endpoint;
    },
  };
}

/** `weight / (active + 1) ^ bias`, without the power where there is none. */
export function loaded(weight: number, active: number, bias: number): number {
  if (bias === 1) return weight / (active + 1);
  return bias === 0 ? weight : weight / (active + 1) ** bias;
}
