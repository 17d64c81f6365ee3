import type { EndpointConfig } from "../config.ts";
import { goneLoad, idleLoad, newEndpointLoad } from "./endpoint-load.ts";
import type { EndpointLoad, EndpointLoads } from "./endpoint-load.ts";
import type { Endpoint } from "./endpoint.ts";

/** What all endpoints that came with one member have in common. */
export interface Arrival {
  /** Version of the member. */
  readonly since: number;
  readonly loads: EndpointLoads;
  /** Of `loads`, at that time. */
  readonly epoch: number;
}

/**
 * An endpoint of one member and of those that follow it, as long as they have the very same one. Its load is in the table from the first
 * time that somebody counts something in it: of ten thousand that arrive, none is made.
 */
export class HeldEndpoint implements Endpoint {
  readonly config: EndpointConfig;
  readonly arrival: Arrival;
  known: EndpointLoad = idleLoad;

  constructor(config: EndpointConfig, arrival: Arrival) {
    this.config = config;
    this.arrival = arrival;
  }

  get load(): EndpointLoad {
    const { known } = this;
    return known === idleLoad || known === goneLoad ? own(this) : known;
  }

  /** For one of the same address: each asks for its own load, and so both have the one that is in the table. */
  shareWith(other: HeldEndpoint): void {
    void other.load;
    void this.load;
  }

  /** No member has it any more. To be called once. */
  release(): void {
    if (this.known === idleLoad) this.known = goneLoad;
    else this.arrival.loads.release(this.config.address, this.known);
  }
}

/**
 * A call may come as late as after the end of its snapshot: what it counts is then seen by nobody else, and held by nobody. No method, for a
 * private one costs each endpoint a field.
 */
function own(endpoint: HeldEndpoint): EndpointLoad {
  const { loads, epoch } = endpoint.arrival;
  const held = endpoint.known === idleLoad && epoch === loads.epoch;
  return (endpoint.known = held ? loads.use(endpoint.config.address) : newEndpointLoad());
}
