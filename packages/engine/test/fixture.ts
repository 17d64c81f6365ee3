// What the tests of matchers, routes and filters need beyond the kit: RE2, duplicate headers, events in words, and short
// builders of rules.
import { RE2JS } from "re2js";
import * as calls from "../../../test/kit/call.ts";
import { fakeClock } from "../../../test/kit/clock.ts";
import * as envs from "../../../test/kit/env.ts";
import type { TestEnv } from "../../../test/kit/env.ts";
import type { Call, Peer } from "../src/call.ts";
import type { HeaderMatch, RouteAction, RouteConfig, RouteMatch, StringMatch, VirtualHost } from "../src/config.ts";
import type { Regex } from "../src/env.ts";
import type { MeshError } from "../src/errors.ts";
import type { FilterState } from "../src/policy/filter.ts";
import type { ResponseHead, Sink } from "../src/service.ts";

export type { TestEnv } from "../../../test/kit/env.ts";
export { seededRandom as seeded } from "../../../test/kit/random.ts";

export function regex(pattern: string): Regex {
  const compiled = RE2JS.compile(pattern);
  return {
    matches: (text) => compiled.matcher(text).matches(),
    replace: (text, substitution) => compiled.matcher(text).replaceAll(substitution),
  };
}

/** The kit's environment with time from 0 and the real regex engine. */
export function testEnv(random?: () => number): TestEnv {
  return envs.testEnv({ regex, clock: fakeClock(0), ...(random === undefined ? {} : { random }) });
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

export interface CallOptions extends Omit<calls.CallOptions, "headers"> {
  /** Flat, since duplicates matter here: `[name, value, …]`. */
  readonly headers?: readonly string[];
}

export function makeCall({ headers = [], ...options }: CallOptions = {}): Call {
  const call = calls.makeCall(options);
  for (let at = 0; at < headers.length; at += 2) call.headers.append(headers[at]!, headers[at + 1]!);
  return call;
}

/** A peer on a plaintext connection, unless it is given an identity. */
export function makePeer(options: Partial<Peer> = {}): Peer {
  return calls.makePeer({ spiffeId: undefined, mtls: options.spiffeId !== undefined, localPort: 8080, ...options });
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
