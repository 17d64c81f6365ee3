import { connect } from "node:net";
import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";

import { Cluster_DiscoveryType } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { assignment, duration, socketAddress } from "../../../kit/xds-resources.ts";
import { observingManager } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { exchange } from "../http1.ts";
import { startScripted } from "./backend.ts";
import { numberField, retryCase } from "./cases.ts";
import { ourRetries } from "./ours.ts";

const loopback = "127.0.0.1";
const requestsPerCase = 20;

/** The same retry policies into Envoy and into us, and a backend that fails as it is told: as many attempts, and the same status (R40). */
export const retriesRow: Capability = {
  name: "oracle: retries",
  limitMs: 180_000,
  async run(context) {
    const count = Math.ceil((context.requests * 0.1) / requestsPerCase);
    const cases = Array.from({ length: count }, (_, at) =>
      retryCase(new Chance(caseSeed(context.seed, 2_000_000 + at)), at, requestsPerCase),
    );
    const table = {
      name: "retries",
      virtualHosts: [{ name: "all", domains: ["*"], routes: cases.map(({ route }) => route) }],
    };
    context.progress(`${count} retry policies, ${requestsPerCase} requests each, seed ${context.seed}`);
    const backend = await startScripted(loopback);
    const differences: Difference[] = [];
    try {
      const envoy = await startEnvoy(context, "retries", {
        staticResources: {
          listeners: [
            {
              name: "retries",
              address: socketAddress(loopback, 0),
              filterChains: [{ filters: [observingManager(table, [])] }],
            },
          ],
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
        const port = await envoy.listenerPort("retries");
        const requests = cases.flatMap((each) => each.requests);
        const wires = requests.map(({ wire }) => wire);
        const theirs = await exchange(() => dial(port), wires, context.signal);
        const ours = ourRetries(table, context.seed);
        for (const [at, request] of requests.entries()) {
          const number = request.wire.headers.find(([name]) => name === numberField)![1];
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
  },
};

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: loopback, port, noDelay: true }, () => resolve(socket));
    socket.once("error", reject);
  });
}
