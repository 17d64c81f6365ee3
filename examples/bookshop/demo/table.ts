import { styleText } from "node:util";
import { edgeQuantile, type Edge } from "./edges.ts";

/** The live table: one line an edge, with what happened in the last interval. */
export function table(interval: readonly Edge[], seconds: number): string {
  const rows = interval
    .filter((edge) => edge.requests > 0)
    .toSorted((a, b) => `${a.to} ${a.from}`.localeCompare(`${b.to} ${b.from}`))
    .map((edge) => [
      `${edge.from} → ${edge.to}`,
      (edge.requests / seconds).toFixed(0),
      `${((100 * edge.good) / edge.requests).toFixed(1)} %`,
      duration(edgeQuantile(edge, 0.5)),
      duration(edgeQuantile(edge, 0.99)),
      edge.mtls === edge.requests ? "yes" : edge.mtls === 0 ? "no" : "partly",
      edge.denied === 0 ? "" : String(edge.denied),
    ]);
  const head = ["edge", "req/s", "success", "p50", "p99", "mTLS", "denied"];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ");
  return [styleText("bold", line(head)), ...rows.map((row) => line(row))].join("\n");
}

/** `v1 ██████████████████░░ 90 %  v2 10 %` */
export function shareBar(versions: Readonly<Record<string, number>>): string {
  const v1 = versions["v1"] ?? 0;
  const v2 = versions["v2"] ?? 0;
  if (v1 + v2 === 0) return "catalog: no traffic yet";
  const share = v1 / (v1 + v2);
  const width = 30;
  const filled = Math.round(share * width);
  const bar = styleText("cyan", "█".repeat(filled)) + styleText("magenta", "█".repeat(width - filled));
  return `catalog  v1 ${(100 * share).toFixed(0).padStart(3)} % ${bar} ${(100 - 100 * share).toFixed(0).padStart(3)} % v2`;
}

function duration(ms: number): string {
  return Number.isNaN(ms) ? "-" : `${ms.toFixed(1)} ms`;
}
