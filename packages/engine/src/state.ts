import type { AnswerTimes } from "./resilience/answer-times.ts";
import type { HealthChecks } from "./cluster/health-checks.ts";
import { EndpointLoads } from "./cluster/endpoint-load.ts";
import type { Membership } from "./cluster/member.ts";
import type { OutlierDetector } from "./resilience/outlier.ts";

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

/** A position in a rotation. */
export interface Cursor {
  value: number;
}

/** State of one cluster, shared by all snapshots that know it. */
export interface ClusterState extends Membership {
  /** Attempts between pick and last event: what `maxRequests` bounds (R48). */
  requests: number;
  /** Retries that wait or are under way: what `maxRetries` or the retry budget bounds. */
  retries: number;
  /** Of round robin, by priority and locality. */
  readonly cursors: RefTable<Cursor>;
  /** From the first snapshot that asked for it on. */
  outlier: OutlierDetector | undefined;
  /** The same of active health checks. */
  checks: HealthChecks | undefined;
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
