// The budgets of design.md: a pick among 10,000 endpoints in ≤ 1 µs without allocation, and a rebuilt cluster of 10,000
// within the 5 ms that the event loop may be held while one endpoint changes. Also: what recording a call costs.
// Run: node tools/task.mjs exec node --conditions=trama-source --expose-gc test/bench/micro/pick.ts
import { bench, do_not_optimize, group, run } from "mitata";
import { Cluster } from "../../../packages/engine/src/cluster/cluster.ts";
import { compile } from "../../../packages/engine/src/compile.ts";
import type { BalancerConfig } from "../../../packages/engine/src/config.ts";
import { MeshError } from "../../../packages/engine/src/errors.ts";
import { RouteKey } from "../../../packages/engine/src/hash/call-key.ts";
import { sendToCluster } from "../../../packages/engine/src/resilience/attempts.ts";
import { RetryPlan } from "../../../packages/engine/src/resilience/retry-policy.ts";
import type { Sink } from "../../../packages/engine/src/service.ts";
import { BARRED } from "../../../packages/engine/src/cluster/endpoint-load.ts";
import { State } from "../../../packages/engine/src/state.ts";
import { createMetrics } from "../../../packages/engine/src/telemetry/metrics.ts";
import { makeCall } from "../../kit/call.ts";
import { fakeClock } from "../../kit/clock.ts";
import { balancers, byUser, call, env, keyed, N, set } from "../picks.ts";
import { cluster, endpoints, forward, listener, meshConfig, retryPolicy, route } from "../../kit/mesh-config.ts";

for (const weight of ["equal", "unequal"] as const)
  group(`a pick among ${N} endpoints, ${weight} weights`, () => {
    for (const balancer of balancers) {
      const { picker } = new Cluster(set(balancer, weight), env, new State());
      let turn = 0;
      bench(`${balancer.kind}, ${weight}`, () => {
        const picked = picker.pick(keyed[turn++ & 255]!);
        if (picked instanceof MeshError) throw picked;
        // Load varies, as it does in life; without it least request would always see zeros.
        picked.load.active = (picked.load.active + 1) & 7;
      }).gc("once");
    }
  });

group("the key of a call", () => {
  const one = makeCall({ headers: { accept: "text/plain", user: "jason@example.com" } });
  bench("made and worked out, from a header", () => {
    const key = new RouteKey(byUser);
    return do_not_optimize(key.known(one));
  }).gc("once");
});

group(`a pick among ${N} endpoints, one of which is warming up`, () => {
  for (const kind of ["round_robin", "least_request"] as const) {
    const slowStart = { windowMs: 1e9, minPercent: 10, aggression: 1.5 };
    const balancer: BalancerConfig = kind === "round_robin" ? { kind, slowStart } : { kind, choices: 2, slowStart };
    const state = new State();
    const before = cluster("c", { endpoints: endpoints(N - 1), balancer });
    // The first one holds the ages of the others.
    new Cluster(before, { ...env, clock: fakeClock(0) }, state);
    const { picker } = new Cluster(set(balancer, "equal"), { ...env, clock: fakeClock(1_000) }, state);
    bench(`${kind}, warming up`, () => do_not_optimize(picker.pick(call))).gc("once");
  }
});

group("a call through attempts, 10,000 endpoints", () => {
  const compiled = new Cluster(set(balancers[0]!, "equal"), env, new State());
  const plan = new RetryPlan(retryPolicy(), env);
  const head = { status: 200, headers: call.headers };
  const flow = { pause() {}, resume() {} };
  const sink: Sink = {
    onHead() {},
    onData() {},
    onEnd() {},
    onError(error) {
      throw error;
    },
  };
  const one = makeCall({
    transport: {
      send(_attempt, to) {
        to.onHead(head, flow);
        to.onEnd(undefined);
      },
    },
  });
  bench("with a retry policy, answered at once", () => sendToCluster(one, sink, compiled, plan)).gc("once");
});

group("recording a call", () => {
  const own = {
    workload: "w",
    namespace: "n",
    app: "a",
    version: "v",
    canonicalService: "s",
    canonicalRevision: "r",
    cluster: "c",
    principal: "",
  };
  const metrics = createMetrics(own);
  const calls = Array.from({ length: 64 }, (_, at) => {
    const made = makeCall();
    made.record.cluster = cluster(`outbound|80||c${at % 8}`);
    made.record.peerWorkload = `workload-${at};n;s;r;c`;
    made.record.status = 200;
    made.record.endMs = made.record.startMs + (at % 20);
    return made;
  });
  bench("one series", () => metrics.onCall(calls[0]!)).gc("once");
  let at = 0;
  bench("64 series in turn", () => metrics.onCall(calls[at++ & 63]!)).gc("once");
});

group(`one endpoint of ${N} changes: compile and retire`, () => {
  const others = Array.from({ length: 100 }, (_, at) => cluster(`other-${at}`));
  const outbound = [listener("c:80", [route(forward("c"))])];
  for (const balancer of balancers)
    for (const weight of ["equal", "unequal"] as const) {
      const state = new State();
      const versions = [set(balancer, weight), set(balancer, weight)].map((each) =>
        meshConfig({ outbound, clusters: [each, ...others] }),
      );
      let current = compile(versions[0]!, env, state);
      let turn = 0;
      bench(`${balancer.kind}, ${weight}`, () => {
        const next = compile(versions[++turn & 1]!, env, state, current);
        current.retire();
        current = do_not_optimize(next) ?? next;
      }).gc("once");
    }
});

group(`the health of one endpoint of ${N} changes: the next pick`, () => {
  for (const balancer of balancers)
    for (const weight of ["equal", "unequal"] as const) {
      const state = new State();
      const built = new Cluster(set(balancer, weight), env, state);
      const load = state.clusters.get("c")!.endpoints.get("10.0.1.1:80")!;
      bench(`${balancer.kind}, ${weight}`, () => {
        load.barred ^= BARRED.ejected;
        built.healthChanged();
        return built.picker.pick(call);
      }).gc("once");
    }
});

await run();
