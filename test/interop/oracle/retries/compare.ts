import { isDeepStrictEqual } from "node:util";

import { Cluster_DiscoveryType } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { assignment, duration } from "../../../kit/xds-resources.ts";
import { observingListener } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Context, Outcome } from "../../peer.ts";
import { dial } from "../dial.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { exchange } from "../http1.ts";
import { startScripted } from "./backend.ts";
import { numberField } from "./cases.ts";
import type { RetryCase } from "./cases.ts";
import { ourRetries } from "./ours.ts";

const loopback = "127.0.0.1";

export interface Comparison {
  /** Of the first case. */
  readonly firstSeed: number;
  readonly count: number;
  readonly requestsPerCase: number;
  /** Requests at once. */
  readonly width: number;
  make(chance: Chance, at: number, requests: number): RetryCase;
}

/** The same retry policies into Envoy and into us, and a backend that does what each request tells it: as many attempts, and the same status. */
export async function compareRetries(context: Context, name: string, comparison: Comparison): Promise<Outcome> {
  const { firstSeed, count, requestsPerCase, width } = comparison;
  const cases = Array.from({ length: count }, (_, at) =>
    comparison.make(new Chance(caseSeed(context.seed, firstSeed + at)), at, requestsPerCase),
  );
  const table = { name, virtualHosts: [{ name: "all", domains: ["*"], routes: cases.map(({ route }) => route) }] };
  context.progress(`${count} policies, ${requestsPerCase} requests each, seed ${context.seed}`);
  const backend = await startScripted(loopback);
  const differences: Difference[] = [];
  try {
    const envoy = await startEnvoy(context, name, {
      staticResources: {
        listeners: [observingListener(name, table, [])],
        clusters: [
          {
            name: "backend",
            clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
            connectTimeout: duration(5_000),
            loadAssignment: assignment("backend", [{ address: loopback, port: backend.port }]),
            circuitBreakers: { thresholds: [{ maxRetries: 1_000 }] },
          },
        ],
      },
    });
    try {
      const port = await envoy.listenerPort(name);
      const requests = cases.flatMap((each) => each.requests);
      const wires = requests.map(({ wire }) => wire);
      const theirs = await exchange(() => dial(port), wires, context.signal, width);
      const ours = ourRetries(table, context.seed);
      for (const [at, request] of requests.entries()) {
        const number = request.wire.headers.find(([field]) => field === numberField)![1];
        const mine = ours(request);
        const envoys = { status: theirs[at]!.status, attempts: backend.attempts.get(number) ?? 0 };
        if (isDeepStrictEqual(mine, envoys)) continue;
        const config = cases[Math.floor(at / requestsPerCase)]!.route;
        differences.push({ at: number, config, request: request.wire, ours: mine, envoys });
      }
    } finally {
      await envoy.stop();
    }
  } finally {
    await backend.close();
  }
  return concluded(context, "requests", count * requestsPerCase, differences);
}
