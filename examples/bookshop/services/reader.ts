import { joinMesh } from "trama";
import type { Reading } from "../demo/messages.ts";

/** Asks the catalog so many times a second, at the times planned: a slow answer delays nobody behind it. Says four times a second what came. */
const perSecond = Number(process.argv[2] ?? 50);

const mesh = await joinMesh();
mesh.closeOnSignals();
process.on("disconnect", () => process.exit(0));

let readings: Reading[] = [];
let errors: string[] = [];

async function read(plannedMs: number): Promise<void> {
  try {
    const response = await mesh.fetch("http://catalog:8080/");
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`status ${response.status}`);
    const region = response.headers.get("x-region") ?? "unknown";
    readings.push({ region, atMs: Date.now(), tookMs: performance.now() - plannedMs });
  } catch (error) {
    const { cause } = error as Error;
    errors.push(`${String(error)}${cause instanceof Error ? `: ${cause.message}` : ""}`);
  }
}

/** The first answer starts the clock: the regions may still be opening. */
for (let attempt = 0; readings.length === 0; attempt++) {
  if (attempt > 100) throw new Error(`the catalog never answered: ${errors.at(-1) ?? ""}`);
  await read(performance.now());
  if (readings.length === 0) await new Promise((resolve) => setTimeout(resolve, 100));
}
readings = [];
errors = [];
process.send?.({ kind: "started" });

setInterval(() => {
  process.send?.({ kind: "readings", readings, errors });
  readings = [];
  errors = [];
}, 250);

const startMs = performance.now();
for (let planned = 0; ; planned++) {
  const plannedMs = startMs + (planned * 1000) / perSecond;
  const waitMs = plannedMs - performance.now();
  if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
  void read(Math.max(plannedMs, startMs));
}
