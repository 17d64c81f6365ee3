// `npm run interop`: other people's software on both ends of our wire. Prints peer × capability × result.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { claimAddresses } from "./addresses.ts";
import { has } from "./install/tools.ts";
import type { Options } from "./options.ts";
import { readOptions, usage } from "./options.ts";
import type { Cache, Capability, Outcome, Peer } from "./peer.ts";
import { peers } from "./peers.ts";
import { table } from "./report.ts";
import type { Line } from "./report.ts";

const progress = (text: string): void => void process.stderr.write(`interop: ${text}\n`);
const cache: Cache = { root: join(import.meta.dirname, ".cache"), progress };
const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort(new Error(signal)));

let options: Options;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`interop: ${(error as Error).message}\n${usage}`);
  process.exit(2);
}

mkdirSync(cache.root, { recursive: true });
const runs = join(cache.root, "runs");
removeOldRuns();
const addresses = await claimAddresses(Math.random);
const lines: Line[] = [];
for (const peer of peers) lines.push(...(await runPeer(peer)));
if (options.json) {
  const count = (result: Line["result"]): number => lines.filter((line) => line.result === result).length;
  const { seed, requests } = options;
  process.stdout.write(
    `${JSON.stringify({ seed, requests, passed: count("pass"), failed: count("fail"), skipped: count("skipped"), rows: lines })}\n`,
  );
} else process.stdout.write(table(lines));
const bad = lines.some(({ result }) => result === "fail" || (options.strict && result === "skipped"));
process.exitCode = bad || interrupted.signal.aborted ? 1 : 0;
// Once the table is out nothing that a row left open may keep the process.
process.stdout.write("", () => process.exit());

async function runPeer(peer: Peer): Promise<Line[]> {
  const wanted = peer.capabilities.filter(({ name }) => `${peer.name} ${name}`.includes(options.only));
  if (wanted.length === 0) return [];
  const whole = { peer: peer.name, version: peer.version, capability: "", ms: 0 } as const;
  if (!(await has(peer.needs))) return [{ ...whole, result: "skipped", detail: `needs ${peer.needs}` }];
  try {
    await peer.install(cache);
  } catch (error) {
    const remedy = `make the registry of ${peer.needs === "node" ? "npm" : peer.needs} packages reachable and run again`;
    return [{ ...whole, result: "fail", detail: `cannot be installed (${(error as Error).message}): ${remedy}` }];
  }
  const done: Line[] = [];
  for (const capability of wanted) done.push(await runCapability(peer, capability));
  return done;
}

async function runCapability(peer: Peer, capability: Capability): Promise<Line> {
  progress(`${peer.name}: ${capability.name}`);
  const scratch = join(runs, String(process.pid), `${peer.name} ${capability.name}`.replace(/[^\w.-]+/g, "-"));
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  const began = performance.now();
  const signal = AbortSignal.any([AbortSignal.timeout(capability.limitMs), interrupted.signal]);
  const { seed, requests } = options;
  let outcome: Outcome;
  try {
    const running = capability.run({ cache, addresses, scratch, seed, requests, signal, progress });
    outcome = await Promise.race([running, overdue(signal)]);
  } catch (error) {
    const why = signal.aborted ? signal.reason : error;
    outcome = { result: "fail", detail: why instanceof Error ? why.message : String(why) };
  }
  if (outcome.result === "pass") rmSync(scratch, { recursive: true, force: true });
  const ms = Math.round(performance.now() - began);
  return { peer: peer.name, version: peer.version, capability: capability.name, ms, ...outcome };
}

/** What failed rows left behind, of runs that have ended: there may be another one at this moment. */
function removeOldRuns(): void {
  mkdirSync(runs, { recursive: true });
  for (const name of readdirSync(runs)) {
    try {
      process.kill(Number(name), 0);
    } catch {
      rmSync(join(runs, name), { recursive: true, force: true });
    }
  }
}

/** What does not heed its signal is left behind: it ends with this process, and so do the processes it started. */
function overdue(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const late = (): void => void setTimeout(reject, 10_000, signal.reason).unref();
    if (signal.aborted) late();
    else signal.addEventListener("abort", late, { once: true });
  });
}
