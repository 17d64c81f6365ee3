import type { Usage } from "./meter.ts";
import type { Remote } from "./process.ts";

/** One side of a pair, freshly started: whom to measure, and who makes the requests (the same process for a client). */
export interface Side {
  readonly measured: Remote;
  readonly load: Remote;
  close(): Promise<void>;
}

export interface Effort {
  readonly pairs: number;
  /**
   * Until the optimising compiler has settled, and until the connections of the first rush, which nobody needs later, were let go (after
   * 4 s); not measured.
   */
  readonly warmUpMs: number;
  /** Each side is measured in so many slices, in the order A B B A A B …, so that slow drift of the machine hits both alike. */
  readonly slices: number;
  readonly sliceRequests: number;
  readonly inFlight: number;
  readonly latencyRequests: number;
}

/** What one side of one pair cost. */
export interface Cost {
  readonly cpuUs: number;
  readonly heapBytes: number;
  readonly gcPauseUs: number;
  readonly p50Us: number;
  readonly rssBytes: number;
}

/**
 * What the two sides of one pair cost, and how they compare. Slices that were run one right after the other are compared with each
 * other, and the pair's figure is the median of these comparisons: a neighbour that took the machine for one of them does not count.
 */
export interface Pair {
  readonly plain: Cost;
  readonly mesh: Cost;
  readonly cpuRatio: number;
  readonly addedUs: number;
  readonly addedBytes: number;
  readonly addedP50Us: number;
}

/**
 * Runs the pairs. Both processes of a pair are new, because where code and data of a process happen to lie moves its CPU figures by some
 * per cent for its whole life; within a pair the two alternate slice by slice, because the machine's speed moves too.
 */
export async function runPairs(
  effort: Effort,
  plain: () => Promise<Side>,
  mesh: () => Promise<Side>,
  progress: (pair: Pair, index: number) => void,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let index = 0; index < effort.pairs; index++) {
    const sides = await Promise.all([plain(), mesh()]);
    try {
      const a = new Tally(sides[0]!, effort);
      const b = new Tally(sides[1]!, effort);
      const tallies = [a, b];
      await Promise.all(tallies.map((tally) => tally.warmUp()));
      for (let slice = 0; slice < effort.slices; slice++) {
        // Every second pair begins with the other side.
        const order = (slice + index) % 2 === 0 ? tallies : tallies.toReversed();
        for (const tally of order) await tally.slice();
      }
      const pair = await compare(a, b);
      pairs.push(pair);
      progress(pair, index);
    } finally {
      await Promise.all(sides.map((side) => side.close()));
    }
  }
  return pairs;
}

async function compare(plain: Tally, mesh: Tally): Promise<Pair> {
  const slices = plain.cpuUs.map((us, index) => [us, mesh.cpuUs[index]!] as const);
  const costs = { plain: await plain.cost(), mesh: await mesh.cost() };
  return {
    ...costs,
    cpuRatio: spread(slices.map(([without, within]) => within / without)).median,
    addedUs: spread(slices.map(([without, within]) => within - without)).median,
    addedBytes: costs.mesh.heapBytes - costs.plain.heapBytes,
    addedP50Us: costs.mesh.p50Us - costs.plain.p50Us,
  };
}

class Tally {
  readonly #side: Side;
  readonly #effort: Effort;
  readonly #usages: Usage[] = [];
  readonly #p50s: number[] = [];

  constructor(side: Side, effort: Effort) {
    this.#side = side;
    this.#effort = effort;
  }

  async warmUp(): Promise<void> {
    const endMs = performance.now() + this.#effort.warmUpMs;
    while (performance.now() < endMs) await this.#side.load.run(1_000, this.#effort.inFlight);
  }

  async slice(): Promise<void> {
    const { measured, load } = this.#side;
    const { inFlight, sliceRequests, slices, latencyRequests } = this.#effort;
    // Connections that the other side's turn let fall idle are open again before the meter starts.
    await load.run(inFlight * 8, inFlight);
    await measured.begin();
    await load.run(sliceRequests, inFlight);
    this.#usages.push(await measured.end());
    this.#p50s.push(await load.latency(Math.ceil(latencyRequests / slices)));
  }

  /** Of each slice, in the order they were run. */
  get cpuUs(): readonly number[] {
    return this.#usages.map((usage) => usage.cpuUs / this.#effort.sliceRequests);
  }

  async cost(): Promise<Cost> {
    const requests = this.#effort.sliceRequests * this.#effort.slices;
    return {
      cpuUs: spread(this.cpuUs).median,
      heapBytes: sum(this.#usages.map((usage) => usage.heapBytes)) / requests,
      gcPauseUs: sum(this.#usages.map((usage) => usage.gcPauseUs)) / requests,
      p50Us: spread(this.#p50s).median,
      rssBytes: await this.#side.measured.rssBytes(),
    };
  }
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
