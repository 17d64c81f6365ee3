/** How the traffic of a cluster is spread over its priorities. */
export interface PriorityLoads {
  /** Percent by priority; they add up to 100 unless there is no priority at all. */
  readonly loads: readonly number[];
  /** In panic: too few are healthy, so all are used, healthy or not. */
  readonly panic: readonly boolean[];
}

/**
 * Envoy's arithmetic, in whole percents. A priority is thought to hold `overprovisioning` percent more than its healthy
 * share says, up to 100; each takes what it can of what those above have left. When all together cannot hold 100 they take
 * their shares of it, and only then one with less than `panicPercent` healthy is in panic. When nothing is healthy and
 * every priority is in panic, all take their shares by number; without panic there is nobody, which the first one says.
 *
 * The timers of R44 are about connections that a gRPC channel waits for. Here a connection is made for a request, so a
 * priority is as ready as its endpoints are healthy, and it takes over and gives back at once.
 */
export function priorityLoads(
  healthy: readonly number[],
  all: readonly number[],
  overprovisioning: number,
  panicPercent: number,
): PriorityLoads {
  const count = all.length;
  const holds = healthy.map((some, at) =>
    Math.min(100, all[at] === 0 ? 0 : Math.floor((overprovisioning * some) / all[at]!)),
  );
  const together = Math.min(
    100,
    holds.reduce((sum, each) => sum + each, 0),
  );
  const loads = shares(holds, together);
  const panic = Array.from({ length: count }, () => false);
  if (together === 100 || count === 0) return { loads, panic };
  if (together === 0 && panicPercent === 0) return { loads: all.map((_, at) => (at === 0 ? 100 : 0)), panic };
  for (let at = 0; at < count; at++) panic[at] = (all[at] === 0 ? 0 : (100 * healthy[at]!) / all[at]!) < panicPercent;
  if (!panic.every(Boolean)) return { loads, panic };
  return { loads: totalPanic(all), panic };
}

function shares(holds: readonly number[], together: number): number[] {
  let left = 100;
  const loads = holds.map((each) => {
    const load = together === 0 ? 0 : Math.min(left, Math.floor((each * 100) / together));
    left -= load;
    return load;
  });
  // What rounding left over.
  const first = holds.findIndex((each) => each > 0);
  if (first >= 0) loads[first] = loads[first]! + left;
  return loads;
}

function totalPanic(all: readonly number[]): number[] {
  const sum = all.reduce((total, each) => total + each, 0);
  const loads = all.map((each) => (sum === 0 ? 0 : Math.floor((100 * each) / sum)));
  const first = Math.max(
    0,
    all.findIndex((each) => each > 0),
  );
  loads[first] = loads[first]! + 100 - loads.reduce((total, each) => total + each, 0);
  return loads;
}
