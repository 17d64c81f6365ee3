import { setTimeout as sleep } from "node:timers/promises";
import type { Reading } from "../messages.ts";
import { percentile } from "../visits.ts";
import { openWorld, type Region, type World } from "./world.ts";

/** What a reader saw while something was the matter with its own region. */
export interface Phase {
  readonly requests: number;
  readonly failed: number;
  readonly p99Ms: number;
  /** Of that of the healthy time before. */
  readonly p99Ratio: number;
  /** From the fault to the first answer of another region. */
  readonly movedMs: number;
}

/** The last line of `npm run demo:regions -- --json`: measured from what the reader saw. */
export interface Report {
  readonly healthy: { readonly requests: number; readonly p50Ms: number; readonly p99Ms: number };
  readonly died: Phase;
  readonly slow: Phase;
  /** From the new process, and from the end of the slowness, to the first answer of the own region. */
  readonly backMs: { readonly afterDeath: number; readonly afterSlowness: number };
  readonly failed: number;
  /** By how much all times of the story were stretched, for a machine that is busy; 1 on one that is not. */
  readonly stretch: number;
}

/** Where the reader is. */
const own: Region = "eu";
const slownessMs = 200;
/** Time of one try in the YAML, and how many healthy calls it should be worth: a process that gets no turn for so long is taken for a slow region. */
const perTryMs = 60;
const healthyCalls = 3;
const mostStretch = 10;
/** Ejected for three seconds, then for six: what was healed meanwhile is tried after that, and at most an interval later. */
const mostBackMs = 15_000;

export interface StoryOptions {
  readonly meshDir: string;
  /** Of each phase. */
  readonly seconds: number;
  /** Requests a second. */
  readonly rate: number;
  /** Of all times; `undefined`: by what healthy calls take. */
  readonly stretch: number | undefined;
  readonly progress: (text: string) => void;
  readonly stop: AbortSignal;
  /** Is given the answers of each second. */
  readonly onSecond?: ((readings: readonly Reading[]) => void) | undefined;
}

/** Healthy; the own region dies and comes back; it grows slow and is healed. */
export async function tellStory({
  meshDir,
  seconds: phaseSeconds,
  rate,
  stretch: given,
  progress,
  stop,
  onSecond,
}: StoryOptions): Promise<{ readonly report: Report; readonly faults: readonly string[] }> {
  const world = await openWorld(meshDir, rate, progress);
  let shown = 0;
  const ticker = setInterval(() => {
    onSecond?.(world.readings.slice(shown));
    shown = world.readings.length;
  }, 1_000);
  try {
    const wait = (ms: number): Promise<void> => sleep(ms, undefined, { signal: stop });
    const stretch = await stretchFor(world, given, wait, progress);
    const healthy = await observe(world, () => wait(phaseSeconds * 1_000), `${phaseSeconds} s of health`, progress);
    const p99Ms = percentile(tookMs(healthy.readings), 0.99);

    const died = await observe(
      world,
      async () => {
        await world.kill(own);
        await wait(phaseSeconds * 1_000);
      },
      `${own} dies`,
      progress,
    );
    progress(`a new process in ${own}`);
    const healedMs = Date.now();
    await world.restart(own);
    const afterDeath = (await firstOf(world, own, healedMs, stop)) - healedMs;
    // The next fault is to be met with a clean record: an ejection counts for as long as it lasted.
    await wait(3_000);

    const slow = await observe(
      world,
      async () => {
        world.delay(own, slownessMs * stretch);
        await wait(phaseSeconds * 1_000);
      },
      `${own} answers ${slownessMs * stretch} ms later`,
      progress,
    );
    progress(`${own} is healed`);
    world.delay(own, 0);
    const curedMs = Date.now();
    const afterSlowness = (await firstOf(world, own, curedMs, stop)) - curedMs;

    const report: Report = {
      healthy: {
        requests: healthy.readings.length,
        p50Ms: round(percentile(tookMs(healthy.readings), 0.5)),
        p99Ms: round(p99Ms),
      },
      died: phase(died, p99Ms),
      slow: phase(slow, p99Ms),
      backMs: { afterDeath, afterSlowness },
      failed: world.errors.length,
      stretch,
    };
    return { report, faults: [...judge(report), ...world.errors.slice(0, 5)] };
  } finally {
    clearInterval(ticker);
    await world.close();
  }
}

/** What is late is told by a time-out, and that by what a healthy call takes here and now: the slowest of a second's, when all is warm. */
async function stretchFor(
  world: World,
  given: number | undefined,
  wait: (ms: number) => Promise<void>,
  progress: (text: string) => void,
): Promise<number> {
  await wait(1_000);
  const warm = world.readings.length;
  await wait(1_000);
  const slowestMs = percentile(tookMs(world.readings.slice(warm)), 1);
  const wanted = Math.max(1, Math.ceil((slowestMs * healthyCalls) / perTryMs) || mostStretch);
  const stretch = given ?? Math.min(mostStretch, wanted);
  if (stretch === 1) return 1;
  progress(`a healthy call takes up to ${round(slowestMs)} ms here: all times are ${stretch} times as long`);
  await world.stretch(stretch);
  await wait(1_000);
  return stretch;
}

interface Observed {
  readonly startMs: number;
  readonly readings: readonly Reading[];
  readonly failed: number;
}

async function observe(
  world: World,
  during: () => Promise<void>,
  what: string,
  progress: (text: string) => void,
): Promise<Observed> {
  progress(what);
  const [readings, errors, startMs] = [world.readings.length, world.errors.length, Date.now()];
  await during();
  return { startMs, readings: world.readings.slice(readings), failed: world.errors.length - errors };
}

function phase({ startMs, readings, failed }: Observed, healthyP99Ms: number): Phase {
  const p99Ms = percentile(tookMs(readings), 0.99);
  const first = readings.find(({ region, atMs }) => region !== own && atMs >= startMs);
  return {
    requests: readings.length,
    failed,
    p99Ms: round(p99Ms),
    p99Ratio: round(p99Ms / healthyP99Ms),
    movedMs: first === undefined ? Infinity : first.atMs - startMs,
  };
}

/** When the region answered first after that moment. */
async function firstOf(world: World, region: Region, sinceMs: number, stop: AbortSignal): Promise<number> {
  const endMs = Date.now() + mostBackMs;
  for (;;) {
    const found = world.readings.find((each) => each.region === region && each.atMs > sinceMs);
    if (found !== undefined) return found.atMs;
    if (Date.now() > endMs) return Infinity;
    await sleep(100, undefined, { signal: stop });
  }
}

/** What is wrong with a report; the run fails if anything is. */
function judge({ healthy, died, slow, backMs, failed }: Report): string[] {
  const faults: string[] = [];
  const expect = (truth: boolean, fault: string): void => {
    if (!truth) faults.push(fault);
  };
  expect(healthy.requests > 0, "there was no traffic");
  expect(failed === 0, `${failed} requests failed`);
  expect(died.movedMs < 1_000, `it took ${died.movedMs} ms to leave the region that died`);
  expect(slow.movedMs < 2_000, `it took ${slow.movedMs} ms to leave the region that was slow`);
  expect(died.p99Ratio <= 1.2, `p99 grew to ${died.p99Ratio} of the healthy one when the region died`);
  expect(slow.p99Ratio <= 1.2, `p99 grew to ${slow.p99Ratio} of the healthy one when the region was slow`);
  expect(backMs.afterDeath < mostBackMs, "nothing came back to the region after its death");
  expect(backMs.afterSlowness < mostBackMs, "nothing came back to the region after its slowness");
  return faults;
}

function tookMs(readings: readonly Reading[]): readonly number[] {
  return readings.map((each) => each.tookMs);
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
