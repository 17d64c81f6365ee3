// What the tests of matchers, routes and filters share: a call without a socket, a clock that is turned by hand, a
// seeded generator, and a sink that writes down what it was told.
import { RE2JS } from "re2js";
import { Call, noBody } from "../src/call.ts";
import type { CallInit, Peer } from "../src/call.ts";
import type { HeaderMatch, RouteAction, RouteConfig, RouteMatch, StringMatch, VirtualHost } from "../src/config.ts";
import type { Env, Regex, Timer } from "../src/env.ts";
import type { MeshError } from "../src/errors.ts";
import { HeaderList } from "../src/headers.ts";
import type { FilterState } from "../src/policy/filter.ts";
import type { ResponseHead, Sink } from "../src/service.ts";
import type { Snapshot } from "../src/snapshot.ts";

export function regex(pattern: string): Regex {
  const compiled = RE2JS.compile(pattern);
  return {
    matches: (text) => compiled.matcher(text).matches(),
    replace: (text, substitution) => compiled.matcher(text).replaceAll(substitution),
  };
}

/** A small seeded generator (mulberry32): chance that repeats. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Time that stands still until a test moves it. */
export class HandClock {
  nowMs = 0;
  wallMs = 1_000_000;
  #timers: { readonly atMs: number; readonly fn: () => void }[] = [];

  now(): number {
    return this.nowMs;
  }

  wall(): number {
    return this.wallMs;
  }

  after(delayMs: number, fn: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, fn };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  get pending(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    this.nowMs += ms;
    const due = this.#timers.filter((timer) => timer.atMs <= this.nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.nowMs);
    for (const timer of due) timer.fn();
  }
}

export interface TestEnv extends Env {
  readonly clock: HandClock;
  /** Messages that were logged, with their level. */
  readonly logged: string[];
}

export function testEnv(random: () => number = seeded(1)): TestEnv {
  const logged: string[] = [];
  const level = (name: string) => (message: string) => void logged.push(`${name}: ${message}`);
  return {
    clock: new HandClock(),
    random,
    telemetry: { onCall() {} },
    log: { debug: level("debug"), info: level("info"), warn: level("warn"), error: level("error") },
    regex,
    logged,
  };
}

export function testState(): FilterState {
  const counters = new Map<string, { value: number }>();
  return {
    counter(name) {
      let counter = counters.get(name);
      if (counter === undefined) counters.set(name, (counter = { value: 0 }));
      return counter;
    },
  };
}

export interface CallOptions extends Partial<Omit<CallInit, "headers">> {
  /** Flat: `[name, value, …]`. */
  readonly headers?: readonly string[];
}

export function makeCall(options: CallOptions = {}): Call {
  return new Call({
    snapshot: undefined as unknown as Snapshot,
    side: "outbound",
    protocol: "http",
    method: "GET",
    authority: "reviews:9080",
    path: "/",
    body: noBody,
    transport: { send: (_attempt, sink) => sink.onEnd(undefined) },
    startMs: 0,
    ...options,
    headers: HeaderList.ofFlat(options.headers ?? []),
  });
}

export function makePeer(options: Partial<Peer> = {}): Peer {
  const { spiffeId } = options;
  const [, trustDomain = "", namespace = "", serviceAccount = ""] =
    /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(spiffeId ?? "") ?? [];
  return {
    spiffeId,
    trustDomain,
    namespace,
    serviceAccount,
    remoteAddress: "10.0.0.1",
    remotePort: 40_000,
    localAddress: "10.0.0.2",
    localPort: 8080,
    mtls: spiffeId !== undefined,
    serverName: "",
    notAfterMs: Infinity,
    ...options,
  };
}

/** Writes down what arrives, in words: `head 200`, `data 3`, `end`, `error TIMEOUT`. */
export class Recorder implements Sink {
  readonly events: string[] = [];
  head: ResponseHead | undefined;
  error: MeshError | undefined;
  body = "";

  onHead(head: ResponseHead): void {
    this.head = head;
    this.events.push(`head ${head.status}`);
  }

  onData(chunk: Uint8Array): void {
    this.body += new TextDecoder().decode(chunk);
    this.events.push(`data ${chunk.length}`);
  }

  onEnd(): void {
    this.events.push("end");
  }

  onError(error: MeshError): void {
    this.error = error;
    this.events.push(`error ${error.code}`);
  }
}

export const none: ReadonlyMap<string, never> = new Map<string, never>();

export function prefix(value: string, rest: Partial<RouteMatch> = {}): RouteMatch {
  return { path: { kind: "prefix", value, ignoreCase: false }, ...conditions, ...rest };
}

export function exact(value: string, rest: Partial<RouteMatch> = {}): RouteMatch {
  return { path: { kind: "exact", value, ignoreCase: false }, ...conditions, ...rest };
}

const conditions = { headers: [], query: [], fractionPerMillion: undefined };

export function is(value: string, kind: "exact" | "prefix" | "suffix" | "contains" = "exact"): StringMatch {
  return { kind, value, ignoreCase: false };
}

export function header(name: string, match: StringMatch, rest: Partial<HeaderMatch> = {}): HeaderMatch {
  return { name, test: { kind: "string", match }, invert: false, missingIsEmpty: false, ...rest };
}

export function route(
  name: string,
  match: RouteMatch,
  action: RouteAction,
  rest: Partial<RouteConfig> = {},
): RouteConfig {
  return { name, match, action, overrides: none, ...rest };
}

export function host(
  domains: readonly string[],
  routes: readonly RouteConfig[],
  rest: Partial<VirtualHost> = {},
): VirtualHost {
  return { name: domains[0] ?? "", domains, routes, retry: undefined, overrides: none, ...rest };
}

/** Forwards to clusters by name and weight. */
export function to(
  ...clusters: readonly (string | readonly [string, number])[]
): RouteAction & { readonly kind: "forward" } {
  return {
    kind: "forward",
    clusters: clusters.map((one) => {
      const [name, weight] = typeof one === "string" ? [one, 1] : one;
      return { name, weight, overrides: none };
    }),
    timeoutMs: undefined,
    retry: undefined,
  };
}
