import { expect } from "vitest";
import { makeCall } from "../../../test/kit/call.ts";
import type { CallOptions } from "../../../test/kit/call.ts";
import { testEnv } from "../../../test/kit/env.ts";
import { cluster, endpoints, retryPolicy } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { MockPeer } from "../../../test/kit/peer.ts";
import type { Answer } from "../../../test/kit/peer.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import type { Call } from "../src/call.ts";
import { Cluster } from "../src/cluster/cluster.ts";
import type { AttemptObserver } from "../src/cluster/observer.ts";
import type { HedgePolicy, RetryPolicy } from "../src/config.ts";
import { sendToCluster } from "../src/resilience/attempts.ts";
import { RetryPlan } from "../src/resilience/retry-policy.ts";
import { State } from "../src/state.ts";

/** A cluster of ten endpoints, a policy and a peer; `go` sends one call. `observers` are told how attempts end. */
export function world(
  policy: Partial<RetryPolicy> | undefined,
  script: Answer[],
  options: ClusterOptions = {},
  observers: readonly AttemptObserver[] = [],
  hedge?: HedgePolicy,
) {
  const env = testEnv();
  const state = new State();
  const config = cluster("c", { endpoints: endpoints(10), ...options });
  const compiled = new Cluster(config, env, state, observers);
  const plan = policy === undefined ? undefined : new RetryPlan(retryPolicy(policy), env, hedge);
  const peer = new MockPeer(...script);
  const counts = state.clusters.get("c")!;
  const make = (call: CallOptions = {}) => makeCall({ transport: peer, startMs: env.clock.now(), ...call });
  const send = (call: Call) => {
    const sink = new TestSink();
    sendToCluster(call, sink, compiled, plan);
    return { call, sink };
  };
  const go = (call: CallOptions = {}) => send(make(call));
  const idle = () => {
    expect(counts).toMatchObject({ requests: 0, retries: 0 });
    for (const { address } of config.endpoints.priorities.flat().flatMap((each) => each.endpoints))
      expect(counts.endpoints.get(address)?.active ?? 0).toBe(0);
    expect(env.clock.pending).toBe(0);
  };
  return { env, peer, counts, make, send, go, idle, compiled };
}
