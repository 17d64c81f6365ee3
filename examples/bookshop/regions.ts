import { fileURLToPath } from "node:url";
import { parseArgs, styleText } from "node:util";
import { tellStory } from "./demo/regions/story.ts";
import { drawSecond } from "./demo/regions/draw.ts";

const usage = `usage: npm run demo:regions -- [--seconds n] [--rate n] [--stretch n] [--json]

  A catalog in three regions. The reader's own dies under load and comes back, then answers 200 ms late and is healed.

  --seconds n  of each of the three phases (default 40; 5 to 600)
  --rate n     requests a second (default 50; 10 to 500)
  --stretch n  makes all times so much longer, for a machine that is busy now and then (1 to 10; default: by what healthy calls take)
  --json       prints one JSON object as the last line, and nothing else on stdout`;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "40" },
    rate: { type: "string", default: "50" },
    stretch: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const seconds = number("--seconds", values.seconds, 5, 600);
const rate = number("--rate", values.rate, 10, 500);
const stretch = values.stretch === undefined ? undefined : number("--stretch", values.stretch, 1, 10);
const meshDir = fileURLToPath(new URL("mesh-regions/", import.meta.url));
const progress = (text: string): void => void process.stderr.write(`· ${text}\n`);

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interrupted.abort());

try {
  const onSecond = values.json ? undefined : drawSecond;
  const { report, faults } = await tellStory({
    meshDir,
    seconds,
    rate,
    stretch,
    progress,
    stop: interrupted.signal,
    onSecond,
  });
  for (const fault of faults) process.stderr.write(`✗ ${fault}\n`);
  if (values.json) console.log(JSON.stringify(report));
  else {
    const { healthy, died, slow, backMs } = report;
    console.log(`
${styleText("bold", "what the reader saw")}
healthy     ${healthy.requests} requests, p50 ${healthy.p50Ms} ms, p99 ${healthy.p99Ms} ms
eu died     p99 ${died.p99Ms} ms (× ${died.p99Ratio}), first answer from elsewhere after ${died.movedMs} ms; back ${backMs.afterDeath} ms after the new process
eu slow     p99 ${slow.p99Ms} ms (× ${slow.p99Ratio}), first answer from elsewhere after ${slow.movedMs} ms; back ${backMs.afterSlowness} ms after it was healed
failed      ${report.failed}`);
  }
  process.exitCode = faults.length === 0 ? 0 : 1;
} catch (error) {
  // Ctrl-C reaches every process of the group: what did not finish because of it is no fault.
  if (!interrupted.signal.aborted) throw error;
  process.exitCode = 130;
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= min && value <= max) return value;
  process.stderr.write(`${name}: ${text} is not a number from ${min} to ${max}\n${usage}\n`);
  process.exit(2);
}
