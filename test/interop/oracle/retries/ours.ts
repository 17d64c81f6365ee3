import { create, toBinary } from "@bufbuild/protobuf";
import { HeaderList, MeshError, noFlow } from "@trama/engine";
import type { Transport } from "@trama/engine";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import { Cluster } from "../../../../packages/engine/src/cluster/cluster.ts";
import { sendToCluster } from "../../../../packages/engine/src/resilience/attempts.ts";
import { RetryPlan } from "../../../../packages/engine/src/resilience/retry-policy.ts";
import { compileRoutes } from "../../../../packages/engine/src/route/router.ts";
import { State } from "../../../../packages/engine/src/state.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import { routeType } from "../../../../packages/xds/src/resources/route.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { cluster } from "../../../kit/mesh-config.ts";
import { TestSink } from "../../../kit/sink.ts";
import { decodeOptions } from "../routes/ours.ts";
import type { RoutesInit } from "../routes/table.ts";
import { type RetryRequest, stepOf } from "./cases.ts";

export interface Tries {
  readonly status: number;
  readonly attempts: number;
}

/** Our way: bytes → decoder → engine, with a transport that plays the backend. */
export function ourRetries(table: RoutesInit, seed: number): (request: RetryRequest) => Tries {
  const config = routeType.decode(
    toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, table)),
    decodeOptions,
  ).value;
  const env = testEnv({ seed, regex: compileRegex });
  const backend = new Cluster(cluster("backend"), env, new State());
  const service = compileRoutes(config, {
    env,
    filters: [],
    state: { counter: () => ({ value: 0 }) },
    cluster: () => ({
      config: { name: "backend", service: undefined },
      service(retry, hedge) {
        const plan = retry && new RetryPlan(retry, env, hedge);
        return (call, sink) => sendToCluster(call, sink, backend, plan);
      },
    }),
  });
  return ({ wire, script }) => {
    let attempts = 0;
    const transport: Transport = {
      send(attempt, sink) {
        attempt.sent = true;
        attempt.bind({ abort: (reason) => sink.onError(reason) });
        const step = stepOf(script, attempts++);
        if (step === "hang") return;
        if (step === "reset") return sink.onError(new MeshError("RESET", "the backend closed it", { sent: true }));
        sink.onHead({ status: step.status, headers: HeaderList.ofRecord(step.headers) }, noFlow);
        sink.onEnd(undefined);
      },
    };
    const call = makeCall({
      method: wire.method,
      path: wire.target,
      authority: wire.host,
      transport,
      startMs: env.clock.now(),
    });
    for (const [name, value] of wire.headers) call.headers.append(name, value);
    const sink = new TestSink();
    service(call, sink);
    env.clock.advance(60_000);
    return { status: sink.status ?? sink.error?.status ?? 0, attempts };
  };
}
