import { isDeepStrictEqual } from "node:util";

import { observingListener } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Capability } from "../../peer.ts";
import { dial } from "../dial.ts";
import { routeTo } from "../route-to.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { exchange } from "../http1.ts";
import { startBackends } from "./backends.ts";
import { clusterHealth } from "./health.ts";
import { ejectionCase } from "./cases.ts";
import { ourDetection } from "./ours.ts";

const loopback = "127.0.0.1";
const backendCount = 6;
const requestsPerCase = 50;

/**
 * Outlier detection by failures in a row: one request after the other, and after each of them the same endpoints are out, in Envoy and
 * with us. Envoy chooses the endpoint; we are told which it was and what became of it.
 */
export const ejectionRow: Capability = {
  name: "oracle: ejection",
  limitMs: 180_000,
  async run(context) {
    const backends = await startBackends(backendCount, loopback);
    const closed = { address: context.addresses.at(200), port: 9 };
    const count = Math.ceil((context.requests * 0.1) / requestsPerCase);
    const members = backends.ports.map((port) => ({ address: loopback, port }));
    const cases = Array.from({ length: count }, (_, at) =>
      ejectionCase(new Chance(caseSeed(context.seed, 6_000_000 + at)), at, requestsPerCase, members, closed),
    );
    const routes = {
      name: "ejection",
      virtualHosts: [{ name: "all", domains: ["*"], routes: cases.map(({ cluster }) => routeTo(cluster.name!)) }],
    };
    context.progress(`${count} clusters, ${requestsPerCase} requests each, seed ${context.seed}`);
    const differences: Difference[] = [];
    try {
      const envoy = await startEnvoy(context, "ejection", {
        staticResources: {
          listeners: [observingListener("ejection", routes, [])],
          clusters: cases.map(({ cluster }) => cluster),
        },
      });
      try {
        const port = await envoy.listenerPort("ejection");
        for (const { cluster, requests } of cases) {
          const ours = ourDetection(cluster, context.seed);
          const before: unknown[] = [];
          for (const request of requests) {
            const number = request.headers[0]![1];
            await exchange(() => dial(port), [request], context.signal);
            const event = backends.events.get(number);
            const address = event === undefined ? `${closed.address}:${closed.port}` : `${loopback}:${event.port}`;
            const outcome = event?.outcome ?? "refused";
            before.push([address, outcome]);
            const mine = ours.after(address, outcome);
            // Its main thread ejects, and answers this: by now it has done what the request was reason for.
            const envoys = (await clusterHealth(envoy, `^${cluster.name}$`)).get(cluster.name!)!.ejected;
            if (isDeepStrictEqual(mine, envoys)) continue;
            differences.push({ at: number, config: cluster, request: before, ours: mine, envoys });
            // All that follows would differ for the same reason.
            break;
          }
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await backends.close();
    }
    return concluded(context, "requests", count * requestsPerCase, differences);
  },
};
