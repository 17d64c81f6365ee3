import type { ClusterConfig } from "../config.ts";
import type { Clock, Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { Breaker } from "../resilience/breaker.ts";
import { AnswerTimes } from "../resilience/answer-times.ts";
import { OutlierDetector } from "../resilience/outlier.ts";
import { newClusterState } from "../state.ts";
import type { ClusterMember, ClusterState, Cursor, State } from "../state.ts";
import { acrossPriorities, hashes, insideLocality, learners, overLocalities, ramps } from "./balancer.ts";
import { Dice } from "./dice.ts";
import { rollDrops } from "./drops.ts";
import type { Endpoint } from "./endpoint.ts";
import { Holder } from "./holder.ts";
import { HealthChecks } from "./health-checks.ts";
import { LocalityHosts } from "./locality.ts";
import type { AttemptObserver } from "./observer.ts";
import type { Picker } from "./picker.ts";
import { avoidedPriorities } from "./previous-priorities.ts";
import { priorityLoads } from "./priority.ts";
import { byZone } from "./zone-aware.ts";

/**
 * A cluster of one snapshot, ready to pick from. Rebuilt whole when anything in its configuration changes; what it counts
 * lives in keyed state, so a rebuilt one goes on where the last one stood. Which endpoints take traffic is the
 * configuration and, over it, what this process found out by itself (`EndpointLoad.barred`).
 */
export class Cluster {
  readonly config: ClusterConfig;
  readonly env: Env;
  readonly breaker: Breaker;
  /** Whether the ends of attempts are to be told at all. */
  readonly observes: boolean;
  /** Whether somebody wants to know how long the head took. */
  readonly timed: boolean;
  readonly #observers: readonly AttemptObserver[];
  readonly #shared: ClusterState;
  readonly #priorities: readonly (readonly LocalityHosts[])[];
  readonly #dice: Dice;
  readonly #release: () => void;
  #picker: Picker;
  /** Those that the picker picks from, by locality, the best priority first. */
  #serving: readonly (readonly Endpoint[])[] = [];
  /** By the priorities that a retry stays away from; made when the first one does. */
  readonly #beyond = new Map<string, Picker>();
  /** Of the keyed state, when the picker was built. */
  #healthVersion: number;

  /** `observers` stand in the order in which they are told. */
  constructor(config: ClusterConfig, env: Env, state: State, observers: readonly AttemptObserver[] = []) {
    const shared = state.clusters.use(config.name, newClusterState);
    const cursors: string[] = [];
    this.config = config;
    this.breaker = new Breaker(config.breaker, shared);
    if (config.outlier !== undefined) shared.outlier ??= new OutlierDetector(config.name, shared, env);
    const detector = config.outlier === undefined ? [] : [shared.outlier!];
    this.#observers = [...observers, ...detector, ...learners(config.balancer, env.clock)];
    this.observes = this.#observers.length > 0;
    this.timed = this.#observers.some((each) => each.timed);
    this.#shared = shared;
    this.#dice = new Dice(env.random);
    this.env = env;
    this.#priorities = hosts(config, shared, cursors, this.#dice, env.clock);
    if (config.healthCheck !== undefined && env.prober !== undefined)
      shared.checks ??= new HealthChecks(config.name, shared, env, env.prober);
    const member: ClusterMember = {
      config,
      endpoints: this.#priorities.map((priority) =>
        priority.length === 1 ? priority[0]!.endpoints : priority.flatMap((each) => each.endpoints),
      ),
    };
    shared.members.push(member);
    watch(shared);
    this.#healthVersion = shared.healthVersion;
    this.#picker = this.#build();
    this.#release = () => {
      const at = shared.members.indexOf(member);
      shared.members.splice(at, 1);
      // Another one is the newest now.
      if (at === shared.members.length) watch(shared);
      for (const key of cursors) shared.cursors.release(key);
      for (const priority of member.endpoints)
        for (const { config: each, load } of priority) shared.endpoints.release(each.address, load);
      state.clusters.release(config.name);
    };
  }

  /**
   * Picks among those that take traffic now. However many changes of health there were since the last pick, they are
   * taken in at once, here: so no pick can meet an endpoint that was barred before it.
   */
  get picker(): Picker {
    if (this.#healthVersion !== this.#shared.healthVersion) {
      this.#healthVersion = this.#shared.healthVersion;
      this.#picker = this.#build();
    }
    return this.#picker;
  }

  /**
   * For a retry that stays away from priorities it has been at: picks among the others, by the loads that these would have
   * alone. `tried`: in order; `every`: see {@link avoidedPriorities}.
   */
  beyond(tried: readonly Endpoint[], every: number): Picker {
    const { picker } = this;
    const priorities = tried.map((endpoint) =>
      this.#priorities.findIndex((priority) => priority.some((each) => each.endpoints.includes(endpoint))),
    );
    // One that has left the cluster since was of no priority.
    if (priorities.includes(-1)) return picker;
    const serves = this.#priorities.map((priority) => priority.some((each) => each.ready.length > 0));
    const avoided = avoidedPriorities(priorities, every, serves);
    if (avoided === undefined) return picker;
    const key = avoided.join();
    let found = this.#beyond.get(key);
    if (found === undefined) this.#beyond.set(key, (found = this.#assemble(avoided).picker));
    return found;
  }

  /** After a change of `EndpointLoad.barred`: this cluster, and its like in other snapshots, pick anew. Costs nothing. */
  healthChanged(): void {
    this.#shared.healthVersion++;
  }

  /** See {@link AttemptObserver.attemptEnded}. */
  attemptEnded(
    endpoint: Endpoint,
    status: number,
    grpcStatus: number,
    error: MeshError | undefined,
    headMs: number,
    counts: boolean,
    askedMs = -1,
  ): void {
    for (const each of this.#observers) each.attemptEnded(endpoint, status, grpcStatus, error, headMs, counts, askedMs);
  }

  /** See {@link AttemptObserver.attemptAnswered}. */
  attemptAnswered(endpoint: Endpoint, status: number, grpcStatus: number, headMs: number): void {
    for (const each of this.#observers) each.attemptAnswered?.(endpoint, status, grpcStatus, headMs);
  }

  /** Whether an ejected endpoint waits for a request that tries it. */
  get wantsProbe(): boolean {
    return this.#shared.probes > 0;
  }

  /** The endpoint to try, for a request that may be repeated elsewhere; {@link attemptEnded} must then be told. */
  takeProbe(): Endpoint | undefined {
    return this.#shared.outlier?.takeProbe();
  }

  /** How long its answers took, for calls that are hedged by it; shared by all snapshots. */
  get answerTimes(): AnswerTimes {
    return (this.#shared.answerTimes ??= new AnswerTimes());
  }

  /** Whether this attempt is among those that the control plane wants dropped. */
  drop(): MeshError | undefined {
    const drops = this.config.endpoints.drops;
    return drops.length === 0 ? undefined : rollDrops(drops, this.env.random);
  }

  /**
   * An endpoint that was not tried yet, for a retry whose picks keep falling on those that were: with few endpoints, the dead one
   * is the least loaded, and least request picks it every time. Looks at no more than one endpoint beyond those tried.
   */
  untried(tried: (endpoint: Endpoint) => boolean): Endpoint | undefined {
    let count = 0;
    for (const list of this.#serving) count += list.length;
    let skip = Math.floor(this.env.random() * count);
    for (let round = 0; round < 2; round++)
      for (const list of this.#serving) {
        for (let at = Math.min(skip, list.length); at < list.length; at++) if (!tried(list[at]!)) return list[at];
        skip = Math.max(0, skip - list.length);
      }
    return undefined;
  }

  /** Ends this cluster's use of the keyed state: its snapshots are gone, and so are their calls. Called once. */
  dispose(): void {
    this.#release();
  }

  #build(): Picker {
    for (const priority of this.#priorities) for (const each of priority) each.refresh();
    const { picker, serving } = this.#assemble(undefined);
    this.#serving = serving;
    this.#beyond.clear();
    return picker;
  }

  /** Without the priorities that are `avoided`. */
  #assemble(avoided: readonly boolean[] | undefined): {
    readonly picker: Picker;
    readonly serving: readonly (readonly Endpoint[])[];
  } {
    const { balancer, panicPercent = 0, endpoints } = this.config;
    const { overprovisioningPercent = 140 } = endpoints;
    const healthy: number[] = [];
    const all: number[] = [];
    for (const [at, priority] of this.#priorities.entries()) {
      let ready = 0;
      let total = 0;
      for (const each of avoided?.[at] === true ? [] : priority) {
        ready += each.ready.length;
        total += each.endpoints.length;
      }
      healthy.push(ready);
      all.push(total);
    }
    const { loads, panic } = priorityLoads(healthy, all, overprovisioningPercent, panicPercent);
    const pickers: Picker[] = [];
    const weights: number[] = [];
    const serving: (readonly Endpoint[])[] = [];
    for (const [at, priority] of this.#priorities.entries()) {
      if (loads[at] === 0) continue;
      const picker = this.#priority(at, panic[at]!);
      if (picker === undefined) continue;
      pickers.push(picker);
      weights.push(loads[at]!);
      for (const each of priority) serving.push(panic[at] ? each.endpoints : each.ready);
    }
    if (pickers.length <= 1) return { picker: pickers[0] ?? nobody(this.config.name), serving };
    return { picker: acrossPriorities(balancer, pickers, weights, this.#dice), serving };
  }

  /** Zones count in the first priority alone; `undefined`: there is nobody. */
  #priority(at: number, panic: boolean): Picker | undefined {
    const { balancer, name, panicPercent = 0, zoneAware, endpoints } = this.config;
    const { overprovisioningPercent = 140 } = endpoints;
    const localities = this.#priorities[at]!;
    if (zoneAware === undefined || hashes(balancer))
      return overLocalities(balancer, localities, panic, overprovisioningPercent, this.#shared, this.#dice);
    const place = { localities, first: at === 0, panic, panicPercent, nobody: nobody(name) };
    return byZone(zoneAware, place, this.#dice);
  }
}

/** Those who watch over the endpoints hear who says what is to be done. */
function watch(shared: ClusterState): void {
  shared.outlier?.adopt();
  shared.checks?.adopt();
}

/** Every endpoint is held, usable or not: one that is unhealthy for a while keeps the count of what it still does. */
function hosts(
  config: ClusterConfig,
  shared: ClusterState,
  cursors: string[],
  dice: Dice,
  clock: Clock,
): LocalityHosts[][] {
  const { balancer } = config;
  const aging = ramps(balancer) ? clock : undefined;
  const before = shared.members.at(-1)?.endpoints;
  return config.endpoints.priorities.map((priority, level) => {
    const holder = new Holder(shared.endpoints, before?.[level] ?? []);
    return priority.map(({ locality, weight, endpoints }) => {
      const key = `${level}/${locality.region}/${locality.zone}/${locality.subZone}`;
      const all = holder.hold(endpoints);
      let cursor: Cursor | undefined;
      const rotation = (): Cursor => {
        if (cursor !== undefined) return cursor;
        cursors.push(key);
        // A random start: processes that start together must not march together.
        return (cursor = shared.cursors.use(key, () => ({ value: dice.below(0x7fff_ffff) })));
      };
      const picker = (ready: readonly Endpoint[]): Picker => insideLocality(balancer, ready, rotation, dice, clock);
      return new LocalityHosts(locality, weight, all, picker, aging);
    });
  });
}

function nobody(name: string): Picker {
  return { pick: () => new MeshError("NO_HEALTHY_ENDPOINT", `no healthy endpoint in cluster ${name}`) };
}
