import { openSync, readSync } from "node:fs";
import { performance, PerformanceObserver, type PerformanceEntry } from "node:perf_hooks";

/** The longest turns of this thread's event loop while it was watched, in milliseconds. */
export interface Turns {
  readonly [figure: string]: number;
  readonly longestMs: number;
  /** The same, without the time in which V8 collected garbage. */
  readonly withoutGcMs: number;
}

const napMs = 0.1;
const never = new Int32Array(new SharedArrayBuffer(4));

/** Shorter ones are not kept. */
const leastMs = 0.2;

/**
 * Watches the event loop until the returned function is called. Time in which the thread was ready and others had the processor is not
 * counted: it says something about the machine, and nothing about what ran here. (The kernel keeps it per thread; elsewhere than on
 * Linux a turn is measured by the clock alone.) What a collection waits for, because its helpers have no processor, is counted: nobody
 * keeps that.
 *
 * The loop takes a turn every tenth of a millisecond meanwhile, so that each holds the callbacks of one look at the sockets; in between the
 * thread sleeps. Without that the turns themselves left 13 MB of garbage in some 60 ms, and brought about the collections that were found,
 * and kept a processor from those who collect.
 */
export function watchTurns(): () => Turns {
  let watching = true;
  const long: { readonly fromMs: number; readonly toMs: number; readonly waitedMs: number }[] = [];
  const collections: PerformanceEntry[] = [];
  const observer = new PerformanceObserver((list) => void collections.push(...list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  let fromMs = performance.now();
  let waited = waitedMs();
  const turn = (): void => {
    if (!watching) return;
    const toMs = performance.now();
    if (toMs - fromMs > leastMs) long.push({ fromMs, toMs, waitedMs: waitedMs() - waited });
    Atomics.wait(never, 0, 0, napMs);
    waited = waitedMs();
    fromMs = performance.now();
    setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    watching = false;
    collections.push(...observer.takeRecords());
    observer.disconnect();
    let longestMs = 0;
    let withoutGcMs = 0;
    for (const each of long) {
      const tookMs = each.toMs - each.fromMs;
      const busyMs = tookMs - each.waitedMs;
      longestMs = Math.max(longestMs, busyMs);
      let gcMs = 0;
      for (const { startTime, duration } of collections)
        gcMs += Math.max(0, Math.min(each.toMs, startTime + duration) - Math.max(each.fromMs, startTime));
      // Where a collection waited as well, that is known twice.
      withoutGcMs = Math.max(withoutGcMs, Math.min(busyMs, tookMs - gcMs));
    }
    return { longestMs, withoutGcMs };
  };
}

const buffer = Buffer.alloc(128);
const space = 0x20;
const zero = 0x30;
const schedstat = open(`/proc/self/task/${process.pid}/schedstat`);

/** How long the main thread has waited for a processor since it began: the second number, in nanoseconds. */
function waitedMs(): number {
  if (schedstat === undefined) return 0;
  const length = readSync(schedstat, buffer, 0, buffer.length, 0);
  let nanoseconds = 0;
  let at = buffer.indexOf(space) + 1;
  for (; at < length && buffer[at] !== space; at++) nanoseconds = nanoseconds * 10 + buffer[at]! - zero;
  return nanoseconds / 1e6;
}

function open(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}
