import { describe, expect, it } from "vitest";
import { makePeer } from "../../../test/kit/call.ts";
import {
  chain,
  cluster,
  endpoints,
  forward,
  inboundListener,
  listener,
  meshConfig,
  retryPolicy,
  route,
} from "../../../test/kit/mesh-config.ts";
import { checkServiceLaws } from "../../../test/kit/service-laws.ts";
import type { LawWorld } from "../../../test/kit/service-laws.ts";
import type { FilterConfig, RbacPolicy } from "./config.ts";
import { createEngine } from "./engine.ts";
import type { Engine } from "./engine.ts";
import { MeshError } from "./errors.ts";
import { filterLayer } from "./policy/chain.ts";
import type { Filter, PendingVerdict, Verdict } from "./policy/filter.ts";
import { deadlineLayer } from "./route/deadline.ts";

const NAME = "reviews:9080";

/** Half delayed, half of the rest refused: waiting, local replies and passing in one configuration. */
const fault: FilterConfig = {
  name: "fault",
  disabled: false,
  config: {
    kind: "fault",
    delay: { ms: 150, perMillion: 500_000 },
    abort: { httpStatus: 503, grpcStatus: undefined, perMillion: 250_000 },
    headers: [],
    maxActive: 1,
  },
};
const everybody: RbacPolicy = { name: "all", permissions: [{ kind: "any" }], principals: [{ kind: "any" }] };
const rbac = (action: "allow" | "deny", policies: RbacPolicy[]): FilterConfig => ({
  name: `rbac-${action}`,
  disabled: false,
  config: { kind: "rbac", rules: { action, policies } },
});

/** A filter that watches the answer and owes one `onEnd` for each call that reached it (law 7). */
function watcher(verdict: () => Verdict | PendingVerdict): { filter: Filter; owed: () => number } {
  let began = 0;
  let ended = 0;
  const filter: Filter = {
    name: "watcher",
    onFailure: "deny",
    onRequest() {
      began++;
      return verdict();
    },
    onEnd() {
      ended++;
    },
  };
  return { filter, owed: () => began - ended };
}

describe("the laws hold, in random orders of events, for", () => {
  it("a chain of filters that watch (law 7)", () => {
    let owed = (): number => 0;
    checkServiceLaws(
      ({ env, peer }) => {
        const outer = watcher(() => "continue");
        const inner = watcher(() => {
          const roll = env.random();
          if (roll < 0.1) throw new Error("a bug in a filter");
          if (roll < 0.2) return { status: 429, flag: "RL" };
          return roll < 0.3 ? new MeshError("DENIED", "no") : "continue";
        });
        owed = () => outer.owed() + inner.owed();
        return filterLayer([outer.filter, inner.filter], env)(peer.service);
      },
      { after: () => expect(owed()).toBe(0) },
    );
  });

  it("a chain that has nothing to watch, which hands the sink on (law 3)", () => {
    checkServiceLaws(
      ({ env, peer }) =>
        filterLayer([{ name: "f", onFailure: "ignore", onRequest: () => "continue" }], env)(peer.service),
      {
        passesSink: true,
      },
    );
  });

  it("the deadline", () => {
    checkServiceLaws(({ env, peer }) => (call, sink) => {
      if (call.aborted !== undefined) return sink.onError(call.aborted);
      deadlineLayer(300, env)(peer.service)(call, sink);
    });
  });

  // A filter that waits answers by a promise, which random synchronous events cannot drive: fault.test.ts does.
  const outbound = (options: { timeoutMs?: number; silentMs?: number; abort?: boolean }) => {
    let engine: Engine;
    const { timeoutMs, silentMs } = options;
    const retry = retryPolicy({ perTryTimeoutMs: 100, perTryIdleTimeoutMs: silentMs });
    const action = forward({ v1: 3, v2: 1 }, { retry, timeoutMs, idleTimeoutMs: silentMs && 2 * silentMs });
    const only = { ...fault, config: { ...fault.config, delay: undefined } } as FilterConfig;
    const config = meshConfig({
      outbound: [listener(NAME, [route(action)], options.abort === true ? [only] : [])],
      clusters: [cluster("v1", { endpoints: endpoints(3) }), cluster("v2")],
    });
    checkServiceLaws(
      ({ env }: LawWorld) => {
        engine = createEngine(env, config);
        return (call, sink) => engine.outbound(NAME, call, sink);
      },
      {
        call: () => ({ snapshot: engine.current }),
        after: ({ env }, { call }) => {
          expect(env.ended).toEqual([call]);
          expect(engine.active).toBe(0);
        },
      },
    );
  };
  it("a whole outbound call with split, retries, per-try and overall time-out", () => outbound({ timeoutMs: 400 }));
  it("a whole outbound call that must not be silent, nor its attempts", () => outbound({ silentMs: 60 }));
  it("a whole outbound call with injected faults", () => outbound({ abort: true }));

  it.each([
    ["that is let in", [rbac("deny", []), rbac("allow", [everybody])]],
    ["that is refused", [rbac("deny", [everybody])]],
  ])("an inbound call %s", (_name, filters) => {
    let engine: Engine;
    const config = meshConfig({
      inbound: [inboundListener("10.0.0.1:80", { defaultChain: chain("default", { filters }) })],
    });
    const facts = {
      transportProtocol: "tls",
      remoteAddress: "10.0.0.9",
      remotePort: 1,
      localAddress: "10.0.0.1",
      localPort: 80,
    } as const;
    checkServiceLaws(
      ({ env, peer }) => {
        engine = createEngine(env, config);
        return engine.current.inbound("10.0.0.1:80")!.chain(facts)!.serve(peer.service);
      },
      {
        call: () => ({ snapshot: engine.current, side: "inbound", peer: makePeer() }),
        after: ({ env, peer }, { call }) => {
          expect(env.ended).toEqual([call]);
          if (filters.length === 1) expect(peer.exchanges).toHaveLength(0);
        },
      },
    );
  });
});
