import type { OutlierRecord } from "../resilience/outlier-record.ts";

/**
 * The loads of a cluster's endpoints by `host:port`, of those that ever did something: counted by use as in a
 * RefTable; the endpoints of members use them.
 */
export class EndpointLoads {
  readonly #loads = new Map<string, EndpointLoad>();
  /** Grows whenever all uses end at once. */
  epoch = 0;

  /** Each use is ended by one {@link release}. */
  use(address: string): EndpointLoad {
    let load = this.#loads.get(address);
    if (load === undefined) this.#loads.set(address, (load = newEndpointLoad()));
    load.uses++;
    return load;
  }

  release(address: string, load: EndpointLoad): void {
    if (--load.uses === 0) this.#loads.delete(address);
  }

  /** Ends all uses at once. */
  clear(): void {
    this.#loads.clear();
    this.epoch++;
  }

  get(address: string): EndpointLoad | undefined {
    return this.#loads.get(address);
  }

  get size(): number {
    return this.#loads.size;
  }
}

/** What one endpoint is doing for us, whichever snapshot sent it there. */
export interface EndpointLoad {
  /** How often it is held: once for all members that have its endpoint in a row. */
  uses: number;
  /** Attempts between pick and last event. */
  active: number;
  /** What outlier detection remembers of it; made by its first attempt where there is detection. */
  outlier: OutlierRecord | undefined;
  /** Why it takes no new traffic although the configuration calls it healthy: bits of {@link BARRED}; 0 = it does. */
  barred: number;
  /** Monotonic milliseconds since when it has been ready, where slow start asks; -1: it is not. */
  readyMs: number;
  /** How long its answers take, where a balancer measures; {@link neverMeasured} before. */
  latency: Latency;
}

/** A decaying measure of the time to the head of an answer. */
export interface Latency {
  /** As of `atMs`. */
  ms: number;
  /** Monotonic milliseconds of the last measurement; -1: there was none. */
  atMs: number;
}

/** Of all that were not measured yet, and never written to: ten thousand of its like would be for nothing where nobody measures. */
export const neverMeasured: Latency = { ms: 0, atMs: -1 };

/** Reasons of our own against an endpoint, found out by this process and laid over what the configuration says. */
export const BARRED = {
  /** Outlier detection has ejected it. */
  ejected: 1,
  /** Active health checks fail. */
  checkFailed: 2,
} as const;

export function newEndpointLoad(): EndpointLoad {
  return { uses: 0, active: 0, barred: 0, outlier: undefined, readyMs: -1, latency: neverMeasured };
}

/** Of all endpoints that never did anything; never written to. */
export const idleLoad: EndpointLoad = newEndpointLoad();

/** The same of those that no member has any more. */
export const goneLoad: EndpointLoad = newEndpointLoad();
