import type { Call } from "./call.ts";
import { Cluster } from "./cluster/cluster.ts";
import type {
  ClusterConfig,
  FilterChain,
  HedgePolicy,
  InboundListener,
  MeshConfig,
  OutboundListener,
  RetryPolicy,
} from "./config.ts";
import type { Env } from "./env.ts";
import { MeshError } from "./errors.ts";
import { compileInbound } from "./inbound/accept.ts";
import { exemption, healthPaths } from "./inbound/exempt.ts";
import { requestLimit } from "./inbound/request-limit.ts";
import { sendToCluster } from "./resilience/attempts.ts";
import { RetryPlan } from "./resilience/retry-policy.ts";
import { compileInboundRoutes, compileRoutes } from "./route/router.ts";
import type { ForwardTarget } from "./route/forward-target.ts";
import type { RouterDeps } from "./route/router.ts";
import type { Layer, Service } from "./service.ts";
import { finish } from "./slices.ts";
import type { Sliced } from "./slices.ts";
import type { InboundSnapshot, Snapshot } from "./snapshot.ts";
import type { State } from "./state.ts";
import { observe } from "./telemetry/observe.ts";
import type { CallCounter } from "./telemetry/observe.ts";

/**
 * Compiles a configuration. Pure but for the keyed state that it takes part in; throws when the configuration cannot
 * be compiled, and then nothing has changed and nothing is held.
 *
 * What did not change is taken over from `previous` by identity (R14). Listeners reach their clusters by name, through
 * the snapshot that their call pins, and not by reference: so a cluster whose endpoints change is rebuilt alone, and the
 * thousand routes that lead to it stay as they are.
 */
export function compile(config: MeshConfig, env: Env, state: State, previous?: Snapshot): CompiledSnapshot {
  return finish(compiling(config, env, state, previous));
}

/**
 * The same in slices, as a cluster of thousands of endpoints is large. One at a time: what this holds of a cluster's keyed state
 * follows upon what was the newest there when it began.
 */
export function* compiling(config: MeshConfig, env: Env, state: State, previous?: Snapshot): Sliced<CompiledSnapshot> {
  const before = previous instanceof CompiledSnapshot ? previous : undefined;
  const snapshot = new CompiledSnapshot((before?.version ?? 0) + 1, config, state);
  const observed = observe(env, state, pinned);
  let done = false;
  try {
    for (const [name, each] of config.clusters) {
      const part = take(before?.clusters.get(name), each) ?? (yield* compileCluster(each, env, state));
      snapshot.clusters.set(name, part);
    }
    for (const [name, each] of config.outbound)
      snapshot.outbounds.set(
        name,
        takeListener(before?.outbounds.get(name), each, config) ?? compileOutbound(each, config, env, state, observed),
      );
    for (const [name, each] of config.inbound)
      snapshot.inbounds.set(
        name,
        takeListener(before?.inbounds.get(name), each, config) ?? compileIn(each, config, env, state, observed),
      );
    done = true;
    return snapshot;
  } finally {
    if (!done) snapshot.retire();
  }
}

/** A compiled part, shared by the snapshots in which it did not change; the last of them disposes it. */
interface Part<C, T> {
  readonly config: C;
  readonly value: T;
  refs: number;
  dispose(): void;
}

interface ListenerPart<C, T> extends Part<C, T> {
  /** The clusters that its routes name, and whether each was there: that is all a listener bakes in of a cluster. */
  readonly clusters: ReadonlyMap<string, boolean>;
}

/**
 * The snapshot that {@link compile} makes. Knows its calls, so that what it holds of the keyed state is given back when
 * it is no longer current and its last call has ended, not earlier.
 */
export class CompiledSnapshot implements Snapshot {
  readonly version: number;
  readonly config: MeshConfig;
  readonly clusters: Map<string, Part<ClusterConfig, Cluster>> = new Map();
  readonly outbounds: Map<string, ListenerPart<OutboundListener, Service>> = new Map();
  readonly inbounds: Map<string, ListenerPart<InboundListener, InboundSnapshot>> = new Map();
  readonly #state: State;
  #calls = 0;
  #retired = false;
  #released = false;
  /** The last that was asked for: a call asks twice, and the next one most often for the same. */
  #listener = "";
  #service: Service | undefined = undefined;

  constructor(version: number, config: MeshConfig, state: State) {
    this.version = version;
    this.config = config;
    this.#state = state;
  }

  outbound(listener: string): Service | undefined {
    if (listener !== this.#listener || this.#service === undefined) {
      const part = this.outbounds.get(listener);
      this.#service = part?.config.opaque === true ? undefined : part?.value;
      this.#listener = listener;
    }
    return this.#service;
  }

  opaque(listener: string): Service | undefined {
    const part = this.outbounds.get(listener);
    return part?.config.opaque === true ? part.value : undefined;
  }

  inbound(listener: string): InboundSnapshot | undefined {
    return this.inbounds.get(listener)?.value;
  }

  /** `lasting`: nobody waits for its end. */
  begin(lasting: boolean = false): void {
    this.#calls++;
    if (!lasting) this.#state.begin();
  }

  end(lasting: boolean = false): void {
    this.#calls--;
    this.#releaseIfUnused();
    if (!lasting) this.#state.end();
  }

  /** No longer the current one. Idempotent. */
  retire(): void {
    this.#retired = true;
    this.#releaseIfUnused();
  }

  /**
   * Once. A call that was made before the swap and begins after this still works: it holds the services themselves, and
   * only what it counts is no longer seen by others.
   */
  #releaseIfUnused(): void {
    if (!this.#retired || this.#calls > 0 || this.#released) return;
    this.#released = true;
    for (const parts of [this.clusters, this.outbounds, this.inbounds])
      for (const part of parts.values()) if (--part.refs === 0) part.dispose();
  }
}

/** Calls are counted at the snapshot that they pin. Every call's snapshot was made here: there is no other maker. */
export const pinned: CallCounter = {
  begin: (call) => (call.snapshot as CompiledSnapshot).begin(isLasting(call)),
  end: (call) => (call.snapshot as CompiledSnapshot).end(isLasting(call)),
};

/** A connection lasts for as long as the application keeps it, which may be for the life of the process: a drain cannot wait for it. */
function isLasting({ protocol }: Call): boolean {
  return protocol === "tcp";
}

function take<P extends Part<unknown, unknown>>(part: P | undefined, config: unknown): P | undefined {
  if (part === undefined || part.config !== config) return undefined;
  part.refs++;
  return part;
}

function takeListener<P extends ListenerPart<unknown, unknown>>(
  part: P | undefined,
  config: unknown,
  mesh: MeshConfig,
): P | undefined {
  if (part === undefined) return undefined;
  for (const [name, known] of part.clusters) if (mesh.clusters.has(name) !== known) return undefined;
  return take(part, config);
}

function* compileCluster(config: ClusterConfig, env: Env, state: State): Sliced<Part<ClusterConfig, Cluster>> {
  const value = yield* Cluster.of(config, env, state);
  return { config, value, refs: 1, dispose: () => value.dispose() };
}

function compileOutbound(
  config: OutboundListener,
  mesh: MeshConfig,
  env: Env,
  state: State,
  observed: Layer,
): ListenerPart<OutboundListener, Service> {
  const scope = new ListenerScope(`outbound/${config.name}`, mesh, env, state);
  return scope.guard(() => {
    const value = observed(compileRoutes(config.routes, scope.deps(config.filters, "")));
    return { config, value, refs: 1, clusters: scope.clusters, dispose: () => scope.dispose() };
  });
}

function compileIn(
  config: InboundListener,
  mesh: MeshConfig,
  env: Env,
  state: State,
  observed: Layer,
): ListenerPart<InboundListener, InboundSnapshot> {
  const scope = new ListenerScope(`inbound/${config.name}`, mesh, env, state);
  return scope.guard(() => {
    const routes = (chain: FilterChain) => compileInboundRoutes(chain.routes, scope.deps(chain.filters, chain.name));
    const max = config.limits?.maxRequests;
    const exempt = exemption(env.exempt ?? healthPaths);
    const limit =
      max === undefined ? undefined : requestLimit(max, scope.deps([], "").state.counter("requests"), exempt);
    const value = compileInbound(config, { env, observe: observed, limit, routes });
    return { config, value, refs: 1, clusters: scope.clusters, dispose: () => scope.dispose() };
  });
}

/** What one listener's routes are compiled against; remembers what they asked for. */
class ListenerScope {
  readonly clusters: Map<string, boolean> = new Map();
  readonly #counters: string[] = [];
  readonly #prefix: string;
  readonly #mesh: MeshConfig;
  readonly #env: Env;
  readonly #state: State;

  constructor(prefix: string, mesh: MeshConfig, env: Env, state: State) {
    this.#prefix = prefix;
    this.#mesh = mesh;
    this.#env = env;
    this.#state = state;
  }

  /** Counters of filters are kept apart by listener and chain: the same filter name in another one is another filter. */
  deps(filters: RouterDeps["filters"], chain: string): RouterDeps {
    const counter = (name: string): { value: number } => {
      const key = `${this.#prefix}/${chain}/${name}`;
      this.#counters.push(key);
      return this.#state.counters.use(key, () => ({ value: 0 }));
    };
    const mirrors = { load: this.#state.mirrors, counter: pinned };
    return { env: this.#env, filters, state: { counter }, mirrors, cluster: (name) => this.#target(name) };
  }

  dispose(): void {
    for (const key of this.#counters.splice(0)) this.#state.counters.release(key);
  }

  /** Holds nothing when `make` throws. */
  guard<T>(make: () => T): T {
    try {
      return make();
    } catch (thrown) {
      this.dispose();
      throw thrown;
    }
  }

  #target(name: string): ForwardTarget | undefined {
    const config = this.#mesh.clusters.get(name);
    this.clusters.set(name, config !== undefined);
    if (config === undefined) return undefined;
    const env = this.#env;
    return {
      config: { name, service: config.service },
      service: (retry: RetryPolicy | undefined, hedge?: HedgePolicy): Service => {
        const plan = retry === undefined ? undefined : new RetryPlan(retry, env, hedge);
        return (call, sink) => {
          const cluster = (call.snapshot as CompiledSnapshot).clusters.get(name)?.value;
          if (cluster === undefined) sink.onError(new MeshError("NO_CLUSTER", `no cluster ${name}`));
          else sendToCluster(call, sink, cluster, plan);
        };
      },
    };
  }
}
