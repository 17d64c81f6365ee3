import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { Cluster_DiscoveryType } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { assignment, duration } from "../../../kit/xds-resources.ts";
import { observingListener } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Capability } from "../../peer.ts";
import { dial } from "../dial.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { exchange } from "../http1.ts";
import type { WireRequest } from "../http1.ts";
import { main, mirrorCase, numberField, shadows, shareCase } from "./cases.ts";
import { copyLine } from "./copy.ts";
import { ourCopies } from "./ours.ts";

const loopback = "127.0.0.1";
const requestsPerCase = 10;
const percents = [0.5, 20, 75];
const requestsPerShare = 1_000;
/** As with weights: Envoy's dice have no seed, and the row must not fail by itself. */
const deviations = 5;
/** Nobody says when the last copy of Envoy's has come; long after the answers it is the end. */
const patienceMs = 3_000;

/** Copies of requests: to the same clusters in Envoy and from us, with the same method, path, host and headers; and as many of them. */
export const mirrorsRow: Capability = {
  name: "oracle: mirrors",
  limitMs: 180_000,
  async run(context) {
    const count = Math.ceil((context.requests * 0.1) / requestsPerCase);
    const cases = Array.from({ length: count }, (_, at) =>
      mirrorCase(new Chance(caseSeed(context.seed, 7_000_000 + at)), at, requestsPerCase),
    );
    const table = {
      name: "mirrors",
      virtualHosts: [
        { name: "all", domains: ["*"], routes: [...cases.map(({ route }) => route), ...percents.map(shareCase)] },
      ],
    };
    const shared = percents.map((percent) =>
      Array.from({ length: requestsPerShare }, (_, at): WireRequest => ({
        method: "GET",
        target: `/share-${percent}/`,
        host: "a",
        headers: [[numberField, `share-${percent}.${at}`]],
      })),
    );
    context.progress(`${count} routes with mirrors, ${requestsPerCase} requests each, seed ${context.seed}`);
    /** By the number of the request. */
    const seen = new Map<string, string[]>();
    const backends = await Promise.all(
      [main, ...shadows].map((cluster) =>
        startEcho(loopback, (copy) => {
          if (cluster === main) return;
          const number = copy.headers[copy.headers.indexOf(numberField) + 1]!;
          seen.set(number, [...(seen.get(number) ?? []), copyLine(cluster, copy)]);
        }),
      ),
    );
    const differences: Difference[] = [];
    try {
      const envoy = await startEnvoy(context, "mirrors", {
        staticResources: {
          listeners: [observingListener("mirrors", table, [])],
          clusters: [main, ...shadows].map((name, at) => ({
            name,
            clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
            connectTimeout: duration(5_000),
            loadAssignment: assignment(name, [{ address: loopback, port: backends[at]!.port }]),
          })),
        },
      });
      try {
        const port = await envoy.listenerPort("mirrors");
        const judge = ourCopies(table, context.seed);
        const requests = cases.flatMap((each) => each.requests);
        const ours = requests.map(judge);
        await exchange(() => dial(port), requests, context.signal);
        const total = ours.reduce((sum, copies) => sum + copies.length, 0);
        await settled(() => sum(seen) >= total, context.signal);
        for (const [at, request] of requests.entries()) {
          const number = request.headers[0]![1];
          const envoys = (seen.get(number) ?? []).toSorted();
          if (isDeepStrictEqual(ours[at], envoys)) continue;
          const config = cases[Math.floor(at / requestsPerCase)]!.route;
          differences.push({ at: number, config, request, ours: ours[at], envoys });
        }
        for (const [at, percent] of percents.entries()) {
          seen.clear();
          await exchange(() => dial(port), shared[at]!, context.signal);
          const mine = shared[at]!.filter((request) => judge(request).length > 0).length;
          await settled(() => fits(seen.size, percent), context.signal);
          if (fits(mine, percent) && fits(seen.size, percent)) continue;
          differences.push({
            at: `${percent} %`,
            config: "",
            request: requestsPerShare,
            ours: mine,
            envoys: seen.size,
          });
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await Promise.all(backends.map((each) => each.close()));
    }
    return concluded(context, "requests", count * requestsPerCase + percents.length * requestsPerShare, differences);
  },
};

function sum(seen: ReadonlyMap<string, readonly string[]>): number {
  let count = 0;
  for (const copies of seen.values()) count += copies.length;
  return count;
}

/** Within so many standard deviations of what the share promises. */
function fits(copies: number, percent: number): boolean {
  const share = percent / 100;
  const deviation = Math.sqrt(requestsPerShare * share * (1 - share));
  return Math.abs(copies - requestsPerShare * share) <= deviations * deviation;
}

async function settled(done: () => boolean, signal: AbortSignal): Promise<void> {
  for (const endMs = performance.now() + patienceMs; !done() && performance.now() < endMs;)
    await sleep(20, undefined, { signal });
  // One that should not have come would come now.
  await sleep(100, undefined, { signal });
}
