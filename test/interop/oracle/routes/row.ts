import { isDeepStrictEqual } from "node:util";

import type { RouteConfiguration } from "@trama/engine";

import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { envoyRoutes } from "./envoys.ts";
import { clusters } from "./features/action.ts";
import type { WireRequest } from "../http1.ts";
import { type OurRoutes, ourRoutes } from "./ours.ts";
import { request, routeTable } from "./table.ts";
import type { Verdict } from "./verdict.ts";

/** Tables enough for every feature to meet every other, requests enough for each route of a table to be met. */
const requestsPerTable = 150;

/** The same RouteConfiguration into Envoy and into us: same route, cluster, path, headers, or the same answer (R28–R35). */
export const routesRow: Capability = {
  name: "oracle: routes",
  limitMs: 300_000,
  async run(context) {
    const count = Math.ceil((context.requests * 0.6) / requestsPerTable);
    const tables = Array.from({ length: count }, (_, at) => {
      const chance = new Chance(caseSeed(context.seed, at));
      const table = routeTable(chance, `table-${at}`);
      return { name: `table-${at}`, table, requests: Array.from({ length: requestsPerTable }, () => request(chance)) };
    });
    context.progress(`${count} route tables, ${requestsPerTable} requests each, seed ${context.seed}`);
    const echo = await startEcho("127.0.0.1");
    const differences: Difference[] = [];
    const kinds = new Map<string, number>();
    try {
      const envoy = await envoyRoutes(
        context,
        tables.map(({ table }) => table),
        clusters,
        echo.port,
      );
      try {
        for (const { name, table, requests } of tables) {
          const ours = ourRoutes(table, clusters, context.seed);
          const theirs = await envoy.judge(name, requests);
          for (const [at, one] of requests.entries()) {
            const mine = likeTheirs(ours, one, theirs[at]!);
            kinds.set(mine.kind, (kinds.get(mine.kind) ?? 0) + 1);
            if (alike(mine, theirs[at]!, ours.config)) continue;
            const place = `${name} request ${at}`;
            differences.push({ at: place, config: table, request: one, ours: mine, envoys: theirs[at] });
          }
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await echo.close();
    }
    context.progress([...kinds].map(([kind, times]) => `${kind} ${times}`).join(", "));
    return concluded(context, "requests", count * requestsPerTable, differences);
  },
};

/** What happens to a request depends on the weighted cluster that was drawn: ours rolls until it is the one that Envoy drew. */
function likeTheirs(ours: OurRoutes, request: WireRequest, theirs: Verdict): Verdict {
  let mine = ours.judge(request);
  for (let left = 100; left > 0 && mine.kind === theirs.kind && !isDeepStrictEqual(mine, theirs); left--)
    mine = ours.judge(request);
  return mine;
}

/** Which of several weighted clusters it was is chance on both sides; that it was one with a weight is not. */
function alike(ours: Verdict, theirs: Verdict, config: RouteConfiguration): boolean {
  if (ours.kind !== "forwarded" && ours.kind !== "no cluster") return isDeepStrictEqual(ours, theirs);
  if (theirs.kind !== ours.kind) return false;
  if (ours.kind !== "forwarded" || theirs.kind !== "forwarded") return isDeepStrictEqual(ours, theirs);
  const action = config.virtualHosts.flatMap(({ routes }) => routes).find(({ name }) => name === ours.route)?.action;
  const drawn =
    action?.kind === "forward" ? action.clusters.filter(({ weight }) => weight > 0).map(({ name }) => name) : [];
  return drawn.includes(theirs.cluster) && isDeepStrictEqual({ ...ours, cluster: theirs.cluster }, theirs);
}
