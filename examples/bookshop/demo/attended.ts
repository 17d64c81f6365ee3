import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { styleText } from "node:util";
import { difference, edges, type Edge } from "./edges.ts";
import { scrape } from "./metrics.ts";
import { openShop } from "./shop.ts";
import { shareBar, table } from "./table.ts";
import { counts, since, watchVisits } from "./visits.ts";

const intervalMs = 1_000;

/** The shop for a person: a table that is drawn anew each second, until Ctrl-C or the end of `seconds`. */
export async function attended(
  meshDir: string,
  seconds: number,
  perSecond: number,
  progress: (text: string) => void,
  stop: AbortSignal,
): Promise<void> {
  const shop = await openShop(meshDir, perSecond, progress);
  try {
    const visits = watchVisits(shop);
    const storefrontMetrics = shop.metricsPorts.get("storefront");
    const where = [
      `edit    ${join(relative(process.cwd(), meshDir), "catalog.yaml")} (the two weights), save, and watch the share move`,
      `status  ${shop.controlPlane.statusUrl}/status`,
      `metrics http://127.0.0.1:${storefrontMetrics}/metrics (the storefront's)`,
      "end     Ctrl-C",
    ];
    const endMs = performance.now() + seconds * 1_000;
    let before: Map<string, Edge> = new Map();
    let seen = counts(visits);
    let seenMs = performance.now();
    while (!stop.aborted && performance.now() < endMs) {
      await sleep(intervalMs, undefined, { signal: stop }).catch(() => {});
      const now = edges(await scrape(shop.metricsPorts));
      const elapsed = (performance.now() - seenMs) / 1_000;
      const latest = since(visits, seen);
      const failures = visits.failed === 0 ? styleText("green", "none") : styleText("red", String(visits.failed));
      const screen = [
        styleText("bold", "Trama bookshop") + "  customer → storefront → catalog v1/v2, reviews → ratings (gRPC)",
        "",
        table(difference(now, before), elapsed),
        "",
        shareBar(latest.versions),
        `visits   ${visits.requests}, failed: ${failures}   forbidden attempts refused: ${visits.deniedActual} of ${visits.deniedExpected}`,
        "",
        ...where.map((line) => styleText("dim", line)),
      ].join("\n");
      process.stdout.write(process.stdout.isTTY ? `\u001b[2J\u001b[H${screen}\n` : `${screen}\n\n`);
      before = now;
      seen = counts(visits);
      seenMs = performance.now();
    }
    progress("closing the shop: the load first, the control plane last");
  } finally {
    await shop.close();
  }
}
