import { describe, expect, it } from "vitest";
import { testEnv } from "../../../test/kit/env.ts";
import {
  chain,
  cluster,
  endpoints,
  forward,
  inboundListener,
  listener,
  meshConfig,
  route,
} from "../../../test/kit/mesh-config.ts";
import { compile } from "./compile.ts";
import type { FilterConfig } from "./config.ts";
import { State } from "./state.ts";

const fault: FilterConfig = {
  name: "fault",
  disabled: false,
  config: { kind: "fault", delay: { ms: 1, perMillion: 1 }, abort: undefined, headers: [], maxActive: 3 },
};
const a = cluster("a", { endpoints: endpoints(4) });
const b = cluster("b", { endpoints: endpoints(3), balancer: { kind: "round_robin" } });
const full = meshConfig({
  outbound: [listener("a:80", [route(forward({ a: 1, b: 1 }))], [fault])],
  inbound: [inboundListener("10.0.0.1:80", { chains: [chain("c", { filters: [fault] })] })],
  clusters: [a, b],
});
const bad = route(forward("a"), { match: { path: { kind: "regex", value: "(" } } });

function held(state: State): number[] {
  return [state.clusters.size, state.counters.size];
}

describe("keyed state under compile", () => {
  it("is held while a snapshot lives, and gone with the last one", () => {
    const env = testEnv();
    const state = new State();
    const first = compile(full, env, state);
    expect(state.clusters.size).toBe(2);
    const during = held(state);
    const second = compile(full, env, state, first);
    first.retire();
    first.retire();
    expect(held(state)).toEqual(during);
    second.retire();
    expect(held(state)).toEqual([0, 0]);
  });

  it("waits for the calls of a retired snapshot", () => {
    const state = new State();
    const snapshot = compile(full, testEnv(), state);
    snapshot.begin();
    snapshot.begin();
    snapshot.retire();
    snapshot.end();
    expect(state.clusters.size).toBe(2);
    snapshot.end();
    expect(held(state)).toEqual([0, 0]);
    // A call that was made before the swap and begins only now.
    snapshot.begin();
    snapshot.end();
    expect(held(state)).toEqual([0, 0]);
  });

  it("a configuration that cannot be compiled leaves nothing behind", () => {
    const env = testEnv();
    const state = new State();
    const good = compile(full, env, state);
    const before = held(state);
    const config = meshConfig({
      outbound: [...full.outbound.values(), listener("x:1", [bad], [fault])],
      clusters: [a, cluster("n")],
    });
    expect(() => compile(config, env, state, good)).toThrow();
    expect(held(state)).toEqual(before);
    good.retire();
    expect(held(state)).toEqual([0, 0]);
  });

  it("1,000 changes of one endpoint leave what one leaves", () => {
    const env = testEnv();
    const state = new State();
    let current = compile(full, env, state);
    for (let i = 0; i < 1_000; i++) {
      const moved = cluster("a", {
        endpoints: endpoints(4, (at) => (at === 0 ? { address: `10.8.${i >> 8}.${i & 255}:80` } : {})),
      });
      const next = compile(
        meshConfig({ outbound: [...full.outbound.values()], clusters: [moved, b] }),
        env,
        state,
        current,
      );
      for (const each of state.clusters.get("a")!.members.at(-1)!.endpoints.flat()) each.load.active = 0;
      current.retire();
      current = next;
    }
    expect(state.clusters.get("a")!.endpoints.size).toBe(4);
  });
});

describe("reuse by identity (R14)", () => {
  it("takes over what did not change, and only that", () => {
    const env = testEnv();
    const state = new State();
    const first = compile(full, env, state);
    const next = compile(
      { ...full, inbound: new Map([["10.0.0.1:80", { ...full.inbound.get("10.0.0.1:80")! }]]) },
      env,
      state,
      first,
    );
    expect(next.outbound("a:80")).toBe(first.outbound("a:80"));
    expect(next.clusters.get("a")).toBe(first.clusters.get("a"));
    expect(next.inbound("10.0.0.1:80")).not.toBe(first.inbound("10.0.0.1:80"));
    expect(next.version).toBe(2);
  });
});
