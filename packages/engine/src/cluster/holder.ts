import type { EndpointConfig } from "../config.ts";
import type { EndpointLoads } from "../state.ts";
import type { Endpoint } from "./endpoint.ts";

/** How far it is looked ahead for an endpoint: as many may be gone that stood one behind the other. */
const ahead = 8;

/**
 * Makes the endpoints of one priority, each held once in the keyed state. Those that the cluster before had already, the very same
 * configuration in nearly the same order, are taken over: nothing is looked up for them, and nothing is made.
 */
export class Holder {
  readonly #loads: EndpointLoads;
  readonly #before: readonly Endpoint[];
  /** Where the next one of those before is expected. */
  #next = 0;

  /** \`before\`: of the same priority, in their order. */
  constructor(loads: EndpointLoads, before: readonly Endpoint[]) {
    this.#loads = loads;
    this.#before = before;
  }

  /** The next locality. */
  hold(configs: readonly EndpointConfig[]): readonly Endpoint[] {
    const held: Endpoint[] = [];
    for (const config of configs) {
      const known = this.#known(config);
      if (known !== undefined) {
        known.load.uses++;
        held.push(known);
      } else held.push({ config, load: this.#loads.use(config.address) });
    }
    return held;
  }

  #known(config: EndpointConfig): Endpoint | undefined {
    const before = this.#before;
    const end = Math.min(this.#next + ahead, before.length);
    for (let at = this.#next; at < end; at++) {
      if (before[at]!.config !== config) continue;
      this.#next = at + 1;
      return before[at];
    }
    return undefined;
  }
}
