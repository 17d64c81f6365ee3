import type { Locality } from "../config.ts";
import type { Clock } from "../env.ts";
import { BARRED } from "../state.ts";
import { AliasTable } from "./alias.ts";
import type { Dice } from "./dice.ts";
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
  readonly #balancer: (ready: readonly Endpoint[]) => Picker;
  readonly #aging: Clock | undefined;
  #ready: readonly Endpoint[] = [];
  #picker: Picker | undefined = undefined;
  #panicPicker: Picker | undefined = undefined;

  /** `balancer` makes the picker of a list that is not empty. `aging`: it wants `EndpointLoad.readyMs` to be kept. */
  constructor(
    locality: Locality,
    weight: number,
    endpoints: readonly Endpoint[],
    balancer: (ready: readonly Endpoint[]) => Picker,
    aging?: Clock,
  ) {
    this.locality = locality;
    this.weight = weight;
    this.endpoints = endpoints;
    this.#balancer = balancer;
    this.#aging = aging;
    // Only what the newest configuration says counts: an older one that is still in use must not make anybody young again.
    if (aging !== undefined)
      for (const { config, load } of endpoints) if (config.health !== "healthy") load.readyMs = -1;
  }

  /** Those that take new traffic, as of the last {@link refresh}. */
  get ready(): readonly Endpoint[] {
    return this.#ready;
  }

  /** Only while somebody is ready. */
  get picker(): Picker {
    return (this.#picker ??= this.#balancer(this.#ready));
  }

  /** In panic: over all, whatever is known of them. Only while there is anybody at all. */
  get panicPicker(): Picker {
    return (this.#panicPicker ??= this.#balancer(this.endpoints));
  }

  /** Looks at the health of all and drops the picker if the answer is another one than before. Costs nanoseconds each. */
  refresh(): void {
    if (this.#aging !== undefined) this.#age(this.#aging);
    const before = this.#ready;
    let same = 0;
    let count = 0;
    for (const endpoint of this.endpoints) {
      if (!takesTraffic(endpoint)) continue;
      if (before[count] === endpoint) same++;
      count++;
    }
    if (same === count && count === before.length) return;
    this.#ready = count === this.endpoints.length ? this.endpoints : this.endpoints.filter(takesTraffic);
    this.#picker = undefined;
  }

  /** An endpoint that failed its health checks starts anew; one that was ejected is as warm as it was (as in Envoy). */
  #age(clock: Clock): void {
    const nowMs = clock.now();
    for (const endpoint of this.endpoints) {
      const { load } = endpoint;
      if ((load.barred & BARRED.checkFailed) !== 0) load.readyMs = -1;
      else if (load.readyMs < 0 && endpoint.config.health === "healthy") load.readyMs = nowMs;
    }
  }
}

function takesTraffic(endpoint: Endpoint): boolean {
  return endpoint.load.barred === 0 && endpoint.config.health === "healthy";
}

/**
 * Picks a locality by weight, then an endpoint inside it by the cluster's own balancer (R45). As Envoy has it, a locality of
 * which a part is not healthy loses weight when `overprovisioning` percent of the rest are fewer than all. `undefined`:
 * there is nobody.
 */
export function byLocality(
  localities: readonly LocalityHosts[],
  panic: boolean,
  overprovisioning: number,
  dice: Dice,
): Picker | undefined {
  const serving = localities.filter((each) => (panic ? each.endpoints : each.ready).length > 0);
  const pickers = serving.map((each) => (panic ? each.panicPicker : each.picker));
  if (pickers.length <= 1) return pickers[0];
  const table = new AliasTable(
    serving.map(({ weight, ready, endpoints }) =>
      panic ? weight : weight * Math.min(1, (overprovisioning * ready.length) / (100 * endpoints.length)),
    ),
  );
  return { pick: (call, selection) => pickers[table.draw(dice)]!.pick(call, selection) };
}
