import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { attended } from "./demo/attended.ts";
import { unattended } from "./demo/unattended.ts";

const usage = `usage: npm run demo -- [--seconds n] [--rate n] [--json]

  --seconds n  end after n seconds (default: until Ctrl-C; 10 with --json)
  --rate n     visits a second (default 100; 1 to 1000)
  --json       unattended: changes a weight, kills the control plane, prints one JSON object as the last line`;

const { values } = parseArgs({
  options: {
    seconds: { type: "string" },
    rate: { type: "string", default: "100" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const seconds = number("--seconds", values.seconds ?? (values.json ? "10" : "86400"), 1, 86_400);
const rate = number("--rate", values.rate, 1, 1_000);
const meshDir = fileURLToPath(new URL("mesh/", import.meta.url));
const progress = (text: string): void => void process.stderr.write(`· ${text}\n`);

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interrupted.abort());

try {
  await run();
} catch (error) {
  // Ctrl-C reaches every process of the group: what did not finish its start because of it is no fault.
  if (!interrupted.signal.aborted) throw error;
  process.exitCode = 130;
}

async function run(): Promise<void> {
  if (!values.json) return attended(meshDir, seconds, rate, progress, interrupted.signal);
  const { report, faults } = await unattended(meshDir, seconds, rate, progress, interrupted.signal);
  for (const fault of faults) process.stderr.write(`✗ ${fault}\n`);
  console.log(JSON.stringify(report));
  process.exitCode = faults.length === 0 ? 0 : 1;
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= min && value <= max) return value;
  process.stderr.write(`${name}: ${text} is not a number from ${min} to ${max}\n${usage}\n`);
  process.exit(2);
}
