import { styleText } from "node:util";
import type { Reading } from "../messages.ts";
import { percentile } from "../visits.ts";
import { regions } from "./world.ts";

const colors = { eu: "cyan", us: "magenta", ap: "yellow" } as const;
const width = 40;

/** One line for one second: who answered, and how fast. */
export function drawSecond(readings: readonly Reading[]): void {
  if (readings.length === 0) {
    console.log(styleText("dim", "no answer in this second"));
    return;
  }
  const counts = regions.map((region) => readings.filter((each) => each.region === region).length);
  const bar = regions
    .map((region, index) =>
      styleText(colors[region], "█".repeat(Math.round((width * counts[index]!) / readings.length))),
    )
    .join("");
  const shares = regions.map((region, index) => `${region} ${String(counts[index]).padStart(3)}`).join("  ");
  const took = readings.map((each) => each.tookMs);
  const slowest = percentile(took, 1).toFixed(1);
  console.log(`${shares}  ${bar}  p50 ${percentile(took, 0.5).toFixed(1)} ms  slowest ${slowest} ms`);
}
