import type { Alarm } from "./alarm.ts";
import type { Call } from "./call.ts";
import type { ClusterConfig, ClusterInfo, EndpointConfig } from "./config.ts";
import type { Layer } from "./service.ts";

/** Time, injected. Monotonic for everything that measures, wall only for certificates. */
export interface Clock {
  /** Monotonic milliseconds, fractions allowed. */
  now(): number;
  /** Milliseconds since the epoch; only for dates in certificates, tokens and logs. */
  wall(): number;
  /** Calls `fn` once after `delayMs`. Never keeps the process alive. Coarse timers (±10 ms) are welcome here. */
  after(delayMs: number, fn: () => void): Timer;
  /** Rings at a moment of `now()`, and no more at the one it was set to before, if any. As coarse as `after`. */
  set(alarm: Alarm, atMs: number): void;
  /** Calls it off. Does nothing to one that is not set. */
  unset(alarm: Alarm): void;
  /**
   * For how long in all, up to `nowMs`, the event loop of this process was blocked: only its growth between two moments says
   * something. Counts what kept timers waiting for 50 ms and more, and only while any was set. Whoever fires timers after such
   * a block lets pending input be read first, so that an answer that is here already beats its time-out.
   */
  stalled(nowMs: number): number;
}

export interface Timer {
  cancel(): void;
}

/** Where messages for people go. Compatible with pino and console. */
export interface Logger {
  debug(message: string, fields?: object): void;
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
}

/** Is told of each call once, when it has ended. Fails open: what it throws is caught and counted. */
export interface Telemetry {
  /** A gRPC call or a connection begins: it may stay open for days, and who counts must not wait for its end. `onCall` follows, once. */
  onOpen?(call: Call): void;
  onCall(call: Call): void;
  /** A copy of a call has ended, or was not made. `status`: of its answer; 0 when none came. */
  onMirror?(cluster: ClusterInfo, outcome: MirrorOutcome, status: number): void;
}

/** `dropped`: for lack of room, or because its body could not be copied to the end. */
export type MirrorOutcome = "answered" | "failed" | "dropped";

/** A compiled policy regex: RE2 semantics, linear time (R29). `matches` is a whole-text match. */
export interface Regex {
  matches(text: string): boolean;
  /** RE2 substitution of every match, `\1` groups. */
  replace(text: string, substitution: string): string;
}

/**
 * How a health check went. `bad`: the endpoint gave an answer that says that it is not well, which needs no second one.
 * `unknown`: nothing was found out, for a reason of our own.
 */
export type HealthAnswer = "well" | "failed" | "bad" | "unknown";

/** Asks endpoints how they are, over whatever the process has for connections. */
export interface HealthProber {
  /** Calls `done` once, unless it is cancelled before. It keeps no time: the caller cancels what takes too long. */
  ask(cluster: ClusterConfig, endpoint: EndpointConfig, done: (answer: HealthAnswer) => void): Timer;
}

/** Every impure thing the engine needs, given from outside, so that testing it costs a function call. */
export interface Env {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly telemetry: Telemetry;
  readonly log: Logger;
  /** IP address of the workload, where it is known: the source of calls that came in by no connection (`source_ip`). */
  readonly address?: string | undefined;
  /** Compiles a policy regex; throws with a message for people when the pattern is not RE2. */
  readonly regex: (pattern: string) => Regex;
  /** What stands before the servers of this process; absent: everything is let in. */
  readonly admission?: { readonly layer: Layer } | undefined;
  /** Paths of health probes, which no limit of a port refuses. Default `/healthz`, `/livez`, `/readyz`. */
  readonly exempt?: readonly string[] | undefined;
  /** Absent: health checks that a cluster asks for are not made. */
  readonly prober?: HealthProber | undefined;
}
