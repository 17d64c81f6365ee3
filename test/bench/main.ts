import { parseArgs } from "node:util";
import { measureBlocks } from "./blocks.ts";
import { build } from "./build.ts";
import { measureControlPlane } from "./control-plane.ts";
import { measureGrpc } from "./grpc.ts";
import { measureClient, measureHttp2, measureNode, measureNoise, measureServer } from "./requests.ts";
import { microFiles, runMicro } from "./micro.ts";
import { summarize, summaryLine, table, type Report } from "./report.ts";
import { measureLoad, measureStartup } from "./startup.ts";
import { allocationError } from "./meter.ts";
import type { Effort } from "./paired.ts";
import { openWorld } from "./world.ts";

/**
 * `npm run bench`: what Trama costs, against the same program without it. See docs/performance.md for the method and for what the
 * figures mean. `--quick` measures less, `--json` ends with one line for machines, `--pairs n` and `--only client,server,…` and
 * `--no-build` are for whoever works on a part.
 */
const parts = [
  "client",
  "server",
  "noise",
  "node",
  "http2",
  "grpc",
  "startup",
  "control-plane",
  "blocks",
  "micro",
] as const;
const { values: options } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    pairs: { type: "string" },
    only: { type: "string" },
    "no-build": { type: "boolean", default: false },
  },
});
/** The line for machines has no place for micro-benchmarks. */
const usual = options.json ? parts.filter((part) => part !== "micro") : parts;
const wanted = new Set<string>(options.only?.split(",") ?? usual);
const unknown = [...wanted].filter((part) => !(parts as readonly string[]).includes(part));
const pairs = Number(options.pairs ?? (options.quick ? 3 : 7));
if (unknown.length > 0 || !Number.isInteger(pairs) || pairs < 1) {
  process.stderr.write(
    `usage: npm run bench -- [--json] [--quick] [--pairs n] [--no-build] [--only ${parts.join(",")}]\n`,
  );
  process.exit(2);
}
const effort: Effort = {
  pairs,
  warmUpMs: 5_000,
  slices: options.quick ? 6 : 10,
  sliceRequests: 2_000,
  inFlight: 16,
  latencyRequests: 600,
};

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const progress = (text: string): void => void process.stderr.write(`${text}\n`);
const startMs = performance.now();

if (!options["no-build"]) build(progress);
const report: Report = { effort, allocationError: allocationError() };
const world = await openWorld();
try {
  if (wanted.has("client")) report.client = await measureClient(world, effort, progress);
  if (wanted.has("server")) report.server = await measureServer(world, effort, progress);
  if (wanted.has("noise")) report.noise = await measureNoise(world, { ...effort, pairs: Math.min(2, pairs) }, progress);
  if (wanted.has("node")) report.node = await measureNode(world, effort, progress);
  if (wanted.has("http2")) report.http2 = await measureHttp2(world, effort, progress);
  if (wanted.has("grpc")) report.grpc = await measureGrpc(world, effort, progress);
  if (wanted.has("startup")) report.startup = await measureStartup(world, options.quick ? 3 : 7, progress);
  if (wanted.has("control-plane"))
    report.controlPlane = await measureControlPlane(world, options.quick ? 5 : 15, progress);
  if (wanted.has("grpc")) report.load = await measureLoad(options.quick ? 3 : 7, progress);
} finally {
  await world.close();
}
if (wanted.has("blocks")) {
  // A world of its own: a control plane that knows 10,000 endpoints is slow to see another change.
  const large = await openWorld();
  try {
    report.blocks = await measureBlocks(large, options.quick ? 1 : 5, !options.quick, progress);
  } finally {
    await large.close();
  }
}
if (wanted.has("micro")) report.micro = await runMicro(await microFiles(), progress);
report.seconds = Math.round((performance.now() - startMs) / 1_000);

const text = table(report);
if (options.json) process.stderr.write(`${text}\n`);
else process.stdout.write(`${text}\n`);
if (options.json) process.stdout.write(`${summaryLine(summarize(report))}\n`);
