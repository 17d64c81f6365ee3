import { chiSquare, chiSquareLimit } from "../../../kit/statistics.ts";
import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import type { WireRequest } from "../http1.ts";
import { envoyRoutes } from "../routes/envoys.ts";
import { clusters } from "../routes/features/action.ts";
import { ourRoutes } from "../routes/ours.ts";
import type { Verdict } from "../routes/verdict.ts";
import { shareCases } from "./cases.ts";

const requestsPerCase = 1_000;
/** Exceeded by chance once in some million comparisons: Envoy's dice have no seed, and the row must not fail by itself. */
const deviations = 5;

/** What is random in routing is compared as distributions: on both sides each outcome comes as often as its weight says. */
export const sharesRow: Capability = {
  name: "oracle: weights and fractions",
  limitMs: 180_000,
  async run(context) {
    const chance = new Chance(caseSeed(context.seed, 1_000_000));
    const count = Math.ceil((context.requests * 0.15) / requestsPerCase);
    const cases = Array.from({ length: count }, (_, at) => shareCases[at % shareCases.length]!(chance, at));
    const table = {
      name: "shares",
      virtualHosts: [{ name: "all", domains: ["*"], routes: cases.flatMap(({ routes }) => [...routes]) }],
    };
    context.progress(`${count} routes of chance, ${requestsPerCase} requests each`);
    const echo = await startEcho("127.0.0.1");
    const differences: Difference[] = [];
    try {
      const envoy = await envoyRoutes(context, [table], clusters, echo.port);
      try {
        const ours = ourRoutes(table, clusters, context.seed);
        for (const { name, path, expected } of cases) {
          const requests = Array.from({ length: requestsPerCase }, (): WireRequest => ({
            method: "GET",
            target: path,
            host: "a",
            headers: [],
          }));
          const mine = deviation(
            requests.map((one) => ours.judge(one)),
            expected,
          );
          const theirs = deviation(await envoy.judge("shares", requests), expected);
          if (mine === undefined && theirs === undefined) continue;
          differences.push({ at: name, config: [...expected], request: path, ours: mine, envoys: theirs });
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await echo.close();
    }
    const outcome = concluded(context, "distributions", count, differences);
    return { ...outcome, figures: { ...outcome.figures, requests: count * requestsPerCase } };
  },
};

/** What is wrong with the counts; `undefined` when they may well come from these shares. */
function deviation(verdicts: readonly Verdict[], expected: ReadonlyMap<string, number>): string | undefined {
  const counts = new Map<string, number>([...expected.keys()].map((key) => [key, 0]));
  for (const verdict of verdicts) {
    const key = verdict.kind === "forwarded" ? `${verdict.route} ${verdict.cluster}` : verdict.kind;
    if ((expected.get(key) ?? 0) === 0) return `${key} came, and must not`;
    counts.set(key, counts.get(key)! + 1);
  }
  const drawn = [...expected].filter(([, share]) => share > 0);
  const statistic = chiSquare(
    drawn.map(([key]) => counts.get(key)!),
    drawn.map(([, share]) => share),
  );
  const limit = chiSquareLimit(Math.max(1, drawn.length - 1), deviations);
  return statistic <= limit
    ? undefined
    : `chi-square ${statistic.toFixed(1)} above ${limit.toFixed(1)}: ${JSON.stringify([...counts])}`;
}
