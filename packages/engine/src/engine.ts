import type { Call } from "./call.ts";
import { compile, compiling, pinned } from "./compile.ts";
import type { CompiledSnapshot } from "./compile.ts";
import type { MeshConfig } from "./config.ts";
import type { Env } from "./env.ts";
import { MeshError } from "./errors.ts";
import type { Layer, Sink } from "./service.ts";
import { finish } from "./slices.ts";
import type { Sliced } from "./slices.ts";
import type { Snapshot } from "./snapshot.ts";
import { State } from "./state.ts";
import { observe } from "./telemetry/observe.ts";

/** The whole data plane of one process, without its sockets: holds the current snapshot and swaps it. */
export interface Engine {
  /** What a new call pins. Replaced by one assignment, never changed. */
  readonly current: Snapshot;
  /** Calls under way, both sides; connections (calls of protocol `tcp`) not among them. */
  readonly active: number;
  /** How often telemetry threw; calls went on regardless (law 9). */
  readonly telemetryFailures: number;
  /**
   * Compiles and swaps. Calls under way keep the snapshot they began with (law 6). Throws what the compiler throws; then
   * the configuration before stays in force.
   */
  publish(config: MeshConfig): void;
  /**
   * The same in slices, for a configuration in which thousands of endpoints came or changed: others may run in between, and the
   * configuration before stays in force up to the last slice, which swaps. Superseded by whatever is published before that: it
   * then ends, and has changed nothing.
   */
  publishing(config: MeshConfig): Sliced<void>;
  /**
   * Answers a call through the named outbound listener (`host:port`, lower case) of the snapshot that it pins; `NO_CONFIG`
   * when that knows no such listener, or one of another kind: opaque ones take calls of protocol `tcp`, and only they do. Obeys the Service laws. Inbound calls go through
   * `current.inbound(name).chain(facts).serve(handler)`.
   */
  outbound(listener: string, call: Call, sink: Sink): void;
  /**
   * The outermost layer, for a service that is not of the configuration, such as passing an unknown host through: its
   * calls are then counted, drained and told to telemetry like any other.
   */
  readonly observe: Layer;
  /**
   * Waits until no call is under way, at most `timeoutMs`; then refuses new outbound calls with `CLOSED`. Calls may still
   * begin while it waits, for a handler that finishes its work may need them. Idempotent: later calls share the first
   * one's end.
   */
  close(timeoutMs: number): Promise<void>;
}

export const emptyConfig: MeshConfig = { outbound: new Map(), inbound: new Map(), clusters: new Map() };

export function createEngine(env: Env, initial: MeshConfig = emptyConfig): Engine {
  const state = new State();
  const observed = observe(env, state, pinned);
  let current: CompiledSnapshot = compile(initial, env, state);
  let next: Sliced<CompiledSnapshot | undefined> | undefined;
  let closing: Promise<void> | undefined;
  let closed = false;
  return {
    observe: observed,
    get current() {
      return current;
    },
    get active() {
      return state.active;
    },
    get telemetryFailures() {
      return state.telemetryFailures;
    },
    publish(config) {
      finish(this.publishing(config));
    },
    *publishing(config) {
      next?.return(undefined);
      const work: typeof next = (next = compiling(config, env, state, current));
      const compiled = yield* work;
      if (compiled === undefined) return;
      next = undefined;
      const before = current;
      current = compiled;
      before.retire();
    },
    outbound(listener, call, sink) {
      const { snapshot } = call;
      const service = closed
        ? undefined
        : call.protocol === "tcp"
          ? snapshot.opaque(listener)
          : snapshot.outbound(listener);
      if (service !== undefined) return service(call, sink);
      const error = closed ? new MeshError("CLOSED", "the mesh is closed") : notServed(listener, call);
      observed((_call, answer) => answer.onError(error))(call, sink);
    },
    close(timeoutMs) {
      state.mirrors.stop();
      return (closing ??= idle(state, env, timeoutMs).then(() => {
        closed = true;
      }));
    },
  };
}

function notServed(listener: string, { protocol, snapshot }: Call): MeshError {
  if (protocol === "tcp" && snapshot.outbound(listener) !== undefined)
    return new MeshError(
      "NO_ROUTE",
      `${listener} takes requests, not connections: call it as an HTTP or gRPC host, or declare its port TCP`,
    );
  if (protocol !== "tcp" && snapshot.opaque(listener) !== undefined)
    return new MeshError(
      "NO_ROUTE",
      `${listener} is an opaque port, which takes connections: use mesh.connect(), or declare it HTTP, HTTP2, GRPC or HTTPS`,
    );
  return new MeshError(
    "NO_CONFIG",
    `the mesh knows no ${listener}: no policy or service names it, or it has not arrived yet`,
  );
}

function idle(state: State, env: Env, timeoutMs: number): Promise<void> {
  if (state.active === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = env.clock.after(timeoutMs, done);
    state.onIdle = done;
    function done(): void {
      timer.cancel();
      state.onIdle = undefined;
      resolve();
    }
  });
}
