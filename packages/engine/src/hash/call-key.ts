import type { Call, CallKey } from "../call.ts";
import type { HashPolicy } from "../config.ts";
import type { Env } from "../env.ts";
import { isPseudo, reader } from "../match/header.ts";
import { queryValue } from "../match/query.ts";
import { cookieValue, setCookie } from "./cookie.ts";
import { xxHash64 } from "./xxhash64.ts";
import type { Hash64 } from "./xxhash64.ts";

/** Hashes one property of a call into `into`; false when the call does not have it. */
type Source = (call: Call, key: RouteKey, into: Hash64) => boolean;

/** The hash policies of one route, compiled. */
export interface HashPlan {
  readonly sources: readonly { readonly hash: Source; readonly terminal: boolean }[];
  /** Whether a caller may have to be given a cookie. */
  readonly givesCookies: boolean;
}

/**
 * The key of one call for consistent hashing. Most calls of a route may go to clusters that do not hash, so it is worked out when a
 * picker first asks, and then kept: retries ask for the same (R38).
 */
export class RouteKey implements CallKey {
  high = 0;
  low = 0;
  /** `set-cookie` for a caller that did not have the cookie yet. */
  cookie: string | undefined = undefined;
  readonly #plan: HashPlan;
  #known: boolean | undefined = undefined;

  constructor(plan: HashPlan) {
    this.#plan = plan;
  }

  known(call: Call): boolean {
    return (this.#known ??= this.#compute(call));
  }

  /** R46: rotated by one and xored, so that the same hash twice does not cancel itself out. */
  #compute(call: Call): boolean {
    let found = false;
    for (const { hash, terminal } of this.#plan.sources) {
      if (hash(call, this, one)) {
        const { high, low } = this;
        this.high = ((high << 1) | (low >>> 31)) ^ one.high;
        this.low = ((low << 1) | (high >>> 31)) ^ one.low;
        found = true;
      }
      if (terminal && found) break;
    }
    return found;
  }
}

const one: Hash64 = { high: 0, low: 0 };

/**
 * Compiles the hash policies of a route; `undefined` when there are none. `channel` gives a number that belongs to the listener and
 * outlives the configuration.
 */
export function compileHash(
  policies: readonly HashPolicy[] | undefined,
  env: Pick<Env, "random" | "regex" | "address">,
  channel: () => { value: number },
): HashPlan | undefined {
  if (policies === undefined || policies.length === 0) return undefined;
  return {
    sources: policies.map((policy) => ({ hash: source(policy, env, channel), terminal: policy.terminal })),
    givesCookies: policies.some((policy) => policy.kind === "cookie" && policy.ttlMs !== undefined),
  };
}

function source(
  policy: HashPolicy,
  env: Pick<Env, "random" | "regex" | "address">,
  channel: () => { value: number },
): Source {
  switch (policy.kind) {
    case "header":
      return header(policy, env);
    case "cookie":
      return (call, key, into) => {
        let value = cookieValue(call.headers, policy.name);
        if (value === "" && policy.ttlMs !== undefined) {
          value = randomHex(env.random);
          key.cookie = setCookie(policy, policy.ttlMs, value);
        }
        if (value !== "") xxHash64(value, into);
        return value !== "";
      };
    case "query":
      return ({ path }, _key, into) => hashed(queryValue(path, policy.name), into);
    case "source_ip":
      return ({ peer }, _key, into) => hashed(peer?.remoteAddress ?? env.address, into);
    case "channel": {
      const id = channel();
      return (_call, _key, into) => {
        id.value ||= 1 + Math.floor(env.random() * Number.MAX_SAFE_INTEGER);
        return hashed(String(id.value), into);
      };
    }
  }
}

/**
 * gRPC hashes several values as one text, joined by `,` (R46). Envoy hashes one after the other, each seeded by the hash before,
 * in sorted order, so that HTTP clients with and without a sidecar come to the same endpoint.
 */
function header({ name, rewrite }: HashPolicy & { kind: "header" }, env: Pick<Env, "regex">): Source {
  const read = reader(name);
  const single = isPseudo(name);
  const regex = rewrite === undefined ? undefined : env.regex(rewrite.pattern);
  const rewritten = (value: string): string => regex?.replace(value, rewrite!.substitution) ?? value;
  return (call, _key, into) => {
    if (single || call.protocol === "grpc") {
      const value = read(call);
      return hashed(value === undefined ? undefined : rewritten(value), into);
    }
    const values = call.headers.all(name);
    if (values.length < 2) return hashed(values.length === 0 ? undefined : rewritten(values[0]!), into);
    into.high = into.low = 0;
    for (const value of values.map(rewritten).toSorted()) xxHash64(value, into, into.high, into.low);
    return true;
  };
}

function hashed(value: string | undefined, into: Hash64): boolean {
  if (value === undefined) return false;
  xxHash64(value, into);
  return true;
}

/** 64 bits. It need not be unguessable: whoever wants another endpoint can as well make up a cookie. */
function randomHex(random: () => number): string {
  const half = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  return half() + half();
}
