import type { AnswerTimes } from "./resilience/answer-times.ts";
import type { HealthChecks } from "./cluster/health-checks.ts";
import type { Member } from "./cluster/member.ts";
import type { OutlierDetector } from "./resilience/outlier.ts";
import type { OutlierRecord } from "./resilience/outlier-record.ts";

/**
 * What must outlive a snapshot: load of endpoints, breaker counters, counters of filters. Kept by name and counted by
 * use, so that a swap of the configuration resets nothing that is still there (law 6), and what nobody uses any more
 * is gone at once: an endpoint that churns cannot leak.
 */
export class RefTable<T> {
  readonly #entries = new Map<string, { readonly value: T; refs: number }>();

  /** The value of this key, made if nobody uses it yet. Each use is ended by one {@link release}. */
  use(key: string, make: (key: string) => T): T {
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      entry.refs++;
      return entry.value;
    }
    const value = make(key);
    this.#entries.set(key, { value, refs: 1 });
    return value;
  }

  release(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined && --entry.refs === 0) this.#entries.delete(key);
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  get size(): number {
    return this.#entries.size;
  }
}

/**
 * The loads of a cluster's endpoints by `host:port`, of those that ever did something: counted by use as in a {@link RefTable};
 * the endpoints of {@link Member}s use them.
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

/** A position in a rotation. */
export interface Cursor {
  value: number;
}

/** State of one cluster, shared by all snapshots that know it. */
export interface ClusterState {
  /** Attempts between pick and last event: what `maxRequests` bounds (R48). */
  requests: number;
  /** Retries that wait or are under way: what `maxRetries` or the retry budget bounds. */
  retries: number;
  /** By `host:port`. */
  readonly endpoints: EndpointLoads;
  /** Of round robin, by priority and locality. */
  readonly cursors: RefTable<Cursor>;
  /** Grows with every change of {@link EndpointLoad.barred}: pickers that were built for another one are out of date. */
  healthVersion: number;
  /** From the first snapshot that asked for it on. */
  outlier: OutlierDetector | undefined;
  /** Endpoints that wait for a request that tries them. */
  probes: number;
  /** The same of active health checks. */
  checks: HealthChecks | undefined;
  /** Whether anybody called it ever: health checks are rarer before. */
  called: boolean;
  /** The clusters of this name in all snapshots in use, the newest last: that one says what is detected and checked. */
  readonly members: Member[];
  /** How long answers took; made by the first call that hedges by it. */
  answerTimes: AnswerTimes | undefined;
}

/** Copies of calls that are under way, of all routes: what bounds mirroring. */
export class MirrorLoad {
  readonly under: Set<{ stop(): void }> = new Set();
  /** Bytes of bodies that copies hold. */
  bytes = 0;

  /** A drain does not wait for what nobody waits for. */
  stop(): void {
    for (const each of this.under) each.stop();
  }
}

/** All state of one engine. */
export class State {
  readonly clusters: RefTable<ClusterState> = new RefTable();
  /** Counters of filters, by listener and filter. */
  readonly counters: RefTable<{ value: number }> = new RefTable();
  readonly mirrors: MirrorLoad = new MirrorLoad();
  /** Calls between begin and end, both sides: what a drain waits for. */
  active = 0;
  /** How often telemetry threw; it fails open, so this is the only trace of it. */
  telemetryFailures = 0;
  /** Told whenever `active` falls to zero; set by whoever drains. */
  onIdle: (() => void) | undefined = undefined;

  begin(): void {
    this.active++;
  }

  end(): void {
    if (--this.active === 0) this.onIdle?.();
  }
}

export function newClusterState(): ClusterState {
  return {
    requests: 0,
    retries: 0,
    endpoints: new EndpointLoads(),
    cursors: new RefTable(),
    healthVersion: 0,
    outlier: undefined,
    probes: 0,
    checks: undefined,
    called: false,
    members: [],
    answerTimes: undefined,
  };
}

export function newEndpointLoad(): EndpointLoad {
  return { uses: 0, active: 0, barred: 0, outlier: undefined, readyMs: -1, latency: neverMeasured };
}

/** Of all endpoints that never did anything; never written to. */
export const idleLoad: EndpointLoad = newEndpointLoad();

/** The same of those that no member has any more. */
export const goneLoad: EndpointLoad = newEndpointLoad();
