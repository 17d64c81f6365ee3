import type { ClusterConfig, MaglevConfig, RingHashConfig } from "../config.ts";
import type { Clock, Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { Breaker } from "../resilience/breaker.ts";
import { AnswerTimes } from "../resilience/answer-times.ts";
import { OutlierDetector } from "../resilience/outlier.ts";
import { finish } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import { newClusterState } from "../state.ts";
import type { ClusterState, Cursor, State } from "../state.ts";
import { acrossPriorities, hashes, insideLocality, learners, overLocalities, ramps } from "./balancer.ts";
import { Dice } from "./dice.ts";
import { rollDrops } from "./drops.ts";
import type { Endpoint } from "./endpoint.ts";
import { HealthChecks } from "./health-checks.ts";
import { LocalityHosts } from "./locality.ts";
import { Hashing } from "./pickers/hashing.ts";
import type { HashedLocality } from "./pickers/hashing.ts";
import { enter, leave } from "./member.ts";
import type { Member } from "./member.ts";
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
  readonly #dice: Dice;
  /** Keys of those in use. */
  readonly #cursors: string[] = [];
  readonly #release: () => void;
  #member: Member | undefined = undefined;
  #priorities: readonly (readonly LocalityHosts[])[] = [];
  #picker: Picker;
  /** Those that the picker picks from, by locality, the best priority first. */
  #serving: readonly (readonly Endpoint[])[] = [];
  /** By priority. */
  readonly #tables = new Map<number, Hashing>();
  /** By the priorities that a retry stays away from; made when the first one does. */
  readonly #beyond = new Map<string, Picker>();
  /** Of the keyed state, when the picker was built. */
  #healthVersion = 0;

  /** `observers` stand in the order in which they are told. `later`: only for {@link of}. */
  constructor(
    config: ClusterConfig,
    env: Env,
    state: State,
    observers: readonly AttemptObserver[] = [],
    later: boolean = false,
  ) {
    const shared = state.clusters.use(config.name, newClusterState);
    this.config = config;
    this.#picker = nobody(config.name);
    this.breaker = new Breaker(config.breaker, shared);
    if (config.outlier !== undefined) shared.outlier ??= new OutlierDetector(config.name, shared, env);
    const detector = config.outlier === undefined ? [] : [shared.outlier!];
    this.#observers = [...observers, ...detector, ...learners(config.balancer, env.clock)];
    this.observes = this.#observers.length > 0;
    this.timed = this.#observers.some((each) => each.timed);
    this.#shared = shared;
    this.#dice = new Dice(env.random);
    this.env = env;
    this.#release = () => state.clusters.release(config.name);
    if (!later) finish(this.#prepare());
  }

  /** The same in slices: the endpoints are held, and the pickers made, a part in each. */
  static *of(config: ClusterConfig, env: Env, state: State): Sliced<Cluster> {
    const cluster = new Cluster(config, env, state, [], true);
    let done = false;
    try {
      yield* cluster.#prepare();
      done = true;
      return cluster;
    } finally {
      if (!done) cluster.dispose();
    }
  }

  *#prepare(): Sliced<void> {
    const { config, env } = this;
    const shared = this.#shared;
    if (config.healthCheck !== undefined && env.prober !== undefined)
      shared.checks ??= new HealthChecks(config.name, shared, env, env.prober);
    const member = yield* enter(config, shared);
    this.#member = member;
    yield* watch(shared);
    this.#priorities = hosts(member, shared, this.#cursors, this.#dice, env.clock);
    yield* this.#build();
  }

  /**
   * Picks among those that take traffic now. However many changes of health there were since the last pick, they are
   * taken in at once, here: so no pick can meet an endpoint that was barred before it. (What is made anew of them later, see
   * {@link Hashing}, passes over it until then.)
   */
  get picker(): Picker {
    if (this.#healthVersion !== this.#shared.healthVersion) finish(this.#build());
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
    if (found === undefined) this.#beyond.set(key, (found = finish(this.#assemble(avoided)).picker));
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
    const shared = this.#shared;
    const { members } = shared;
    const newest = members.at(-1);
    if (this.#member !== undefined) leave(this.#member, shared);
    if (members.at(-1) !== newest) finish(watch(shared));
    for (const each of this.#tables.values()) each.close();
    for (const key of this.#cursors) shared.cursors.release(key);
    this.#release();
  }

  /** A change of health while this is under way makes it out of date again, for the next pick. */
  *#build(): Sliced<void> {
    this.#healthVersion = this.#shared.healthVersion;
    for (const priority of this.#priorities) for (const each of priority) yield* each.refresh();
    const { picker, serving } = yield* this.#assemble(undefined);
    this.#picker = picker;
    this.#serving = serving;
    this.#beyond.clear();
  }

  /** Without the priorities that are `avoided`. */
  *#assemble(avoided: readonly boolean[] | undefined): Sliced<{
    readonly picker: Picker;
    readonly serving: readonly (readonly Endpoint[])[];
  }> {
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
      const picker = yield* this.#priority(at, panic[at]!, avoided === undefined);
      if (picker === undefined) continue;
      pickers.push(picker);
      weights.push(loads[at]!);
      for (const each of priority) serving.push(panic[at] ? each.endpoints : each.ready);
    }
    if (pickers.length <= 1) return { picker: pickers[0] ?? nobody(this.config.name), serving };
    return { picker: acrossPriorities(balancer, pickers, weights, this.#dice), serving };
  }

  /** The table of a priority outlives changes of health. `whole`: else priorities are avoided, and it may be another one that is needed. */
  #hashing(
    at: number,
    balancer: RingHashConfig | MaglevConfig,
    serving: readonly HashedLocality[],
    panic: boolean,
    whole: boolean,
  ): Hashing {
    const known = this.#tables.get(at);
    if (known !== undefined && (whole || known.isOver(serving, panic))) return known;
    const made = new Hashing(balancer, this.#shared, this.#dice, this.env.clock);
    if (whole) this.#tables.set(at, made);
    return made;
  }

  /** Zones count in the first priority alone; `undefined`: there is nobody. */
  *#priority(at: number, panic: boolean, whole: boolean): Sliced<Picker | undefined> {
    const { balancer, name, panicPercent = 0, zoneAware, endpoints } = this.config;
    const { overprovisioningPercent = 140 } = endpoints;
    const localities = this.#priorities[at]!;
    if (zoneAware === undefined || hashes(balancer))
      return yield* overLocalities(
        localities,
        panic,
        overprovisioningPercent,
        this.#dice,
        hashes(balancer) ? (serving) => this.#hashing(at, balancer, serving, panic, whole) : undefined,
      );
    const place = { localities, first: at === 0, panic, panicPercent, nobody: nobody(name) };
    return yield* byZone(zoneAware, place, this.#dice);
  }
}

/** Those who watch over the endpoints hear who says what is to be done. */
function* watch(shared: ClusterState): Sliced<void> {
  shared.outlier?.adopt();
  if (shared.checks !== undefined) yield* shared.checks.adopt();
}

function hosts(
  { config, localities }: Member,
  shared: ClusterState,
  cursors: string[],
  dice: Dice,
  clock: Clock,
): LocalityHosts[][] {
  const { balancer, endpoints } = config;
  const aging = ramps(balancer) ? clock : undefined;
  return endpoints.priorities.map((priority, level) =>
    priority.map(({ locality, weight }, at) => {
      const key = `${level}/${locality.region}/${locality.zone}/${locality.subZone}`;
      let cursor: Cursor | undefined;
      const rotation = (): Cursor => {
        if (cursor !== undefined) return cursor;
        cursors.push(key);
        // A random start: processes that start together must not march together.
        return (cursor = shared.cursors.use(key, () => ({ value: dice.below(0x7fff_ffff) })));
      };
      const picker = (ready: readonly Endpoint[]): Sliced<Picker> =>
        insideLocality(balancer, ready, rotation, dice, clock);
      // Every endpoint is held, usable or not: one that is unhealthy for a while keeps the count of what it still does.
      return new LocalityHosts(locality, weight, localities[level]![at]!.endpoints, picker, aging);
    }),
  );
}

function nobody(name: string): Picker {
  return { pick: () => new MeshError("NO_HEALTHY_ENDPOINT", `no healthy endpoint in cluster ${name}`) };
}
