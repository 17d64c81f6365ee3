import type { Locality } from "../config.ts";
import type { Clock } from "../env.ts";
import { inParts } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import { BARRED } from "./endpoint-load.ts";
import { AliasTable } from "./alias.ts";
import type { Dice } from "./dice.ts";
import { takesTraffic } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Picker } from "./picker.ts";

/**
 * One locality of one priority: all its endpoints, and a picker over those that take traffic just now. What changes the
 * health of an endpoint makes only its own locality build a new picker.
 */
export class LocalityHosts {
  readonly locality: Locality;
  /** ≥ 1. */
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
  readonly #balancer: (ready: readonly Endpoint[]) => Sliced<Picker>;
  readonly #aging: Clock | undefined;
  #ready: readonly Endpoint[] = [];
  #picker: Picker | undefined = undefined;
  #panicPicker: Picker | undefined = undefined;

  /** `balancer` makes the picker of a list that is not empty. `aging`: it wants `EndpointLoad.readyMs` to be kept. */
  constructor(
    locality: Locality,
    weight: number,
    endpoints: readonly Endpoint[],
    balancer: (ready: readonly Endpoint[]) => Sliced<Picker>,
    aging?: Clock,
  ) {
    this.locality = locality;
    this.weight = weight;
    this.endpoints = endpoints;
    this.#balancer = balancer;
    this.#aging = aging;
    // Only what the newest configuration says counts: an older one that is still in use must not make anybody young again.
    if (aging !== undefined)
      for (const each of endpoints)
        if (each.known.readyMs >= 0 && each.config.health !== "healthy") each.load.readyMs = -1;
  }

  /** Those that take new traffic, as of the last {@link refresh}. */
  get ready(): readonly Endpoint[] {
    return this.#ready;
  }

  /**
   * Picks among those that are ready, while somebody is; `panic`: among all, whatever is known of them, while there is anybody at
   * all. Made when it is asked for first.
   */
  *picker(panic: boolean): Sliced<Picker> {
    if (panic) return (this.#panicPicker ??= yield* this.#balancer(this.endpoints));
    return (this.#picker ??= yield* this.#balancer(this.#ready));
  }

  /** Looks at the health of all and drops the picker if the answer is another one than before. Costs nanoseconds each. */
  *refresh(): Sliced<void> {
    const { endpoints } = this;
    const nowMs = this.#aging?.now();
    const before = this.#ready;
    let same = 0;
    let count = 0;
    yield* inParts(endpoints.length, (from, to) => {
      if (nowMs !== undefined) this.#age(nowMs, from, to);
      for (let at = from; at < to; at++) {
        const endpoint = endpoints[at]!;
        if (!takesTraffic(endpoint)) continue;
        if (before[count] === endpoint) same++;
        count++;
      }
    });
    if (same === count && count === before.length) return;
    this.#picker = undefined;
    if (count === endpoints.length) {
      this.#ready = endpoints;
      return;
    }
    const ready: Endpoint[] = [];
    yield* inParts(endpoints.length, (from, to) => {
      for (let at = from; at < to; at++) if (takesTraffic(endpoints[at]!)) ready.push(endpoints[at]!);
    });
    this.#ready = ready;
  }

  /** An endpoint that failed its health checks starts anew; one that was ejected is as warm as it was (as in Envoy). */
  #age(nowMs: number, from: number, to: number): void {
    for (let at = from; at < to; at++) {
      const endpoint = this.endpoints[at]!;
      const { known } = endpoint;
      if ((known.barred & BARRED.checkFailed) !== 0) endpoint.load.readyMs = -1;
      else if (known.readyMs < 0 && endpoint.config.health === "healthy") endpoint.load.readyMs = nowMs;
    }
  }
}

/**
 * Picks a locality by weight, then an endpoint inside it by the cluster's own balancer (R45). As Envoy has it, a locality of
 * which a part is not healthy loses weight when `overprovisioning` percent of the rest are fewer than all. `undefined`:
 * there is nobody.
 */
export function* byLocality(
  localities: readonly LocalityHosts[],
  panic: boolean,
  overprovisioning: number,
  dice: Dice,
): Sliced<Picker | undefined> {
  const serving = localities.filter((each) => (panic ? each.endpoints : each.ready).length > 0);
  const pickers: Picker[] = [];
  for (const each of serving) pickers.push(yield* each.picker(panic));
  if (pickers.length <= 1) return pickers[0];
  const table = new AliasTable(
    serving.map(({ weight, ready, endpoints }) =>
      panic ? weight : weight * Math.min(1, (overprovisioning * ready.length) / (100 * endpoints.length)),
    ),
  );
  return { pick: (call, selection) => pickers[table.draw(dice)]!.pick(call, selection) };
}
