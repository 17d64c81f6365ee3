import { openSync, readSync } from "node:fs";
import { performance } from "node:perf_hooks";

/**
 * Watches this thread's event loop until the returned function is called, which tells the longest turn in milliseconds. Time in which
 * the thread was ready and others had the processor is not counted: it says something about the machine, and nothing about what ran
 * here. (The kernel keeps it per thread; elsewhere than on Linux a turn is measured by the clock alone.)
 *
 * The loop is kept spinning meanwhile, so that each turn holds the callbacks of one look at the sockets.
 */
export function watchTurns(): () => number {
  let watching = true;
  let longestMs = 0;
  let fromMs = performance.now();
  let fromWaitedMs = waitedMs();
  const turn = (): void => {
    if (!watching) return;
    const tookMs = performance.now() - fromMs;
    const waited = waitedMs();
    longestMs = Math.max(longestMs, tookMs - (waited - fromWaitedMs));
    fromWaitedMs = waited;
    fromMs = performance.now();
    setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    watching = false;
    return longestMs;
  };
}

const buffer = Buffer.alloc(128);
const schedstat = open(`/proc/self/task/${process.pid}/schedstat`);

/** How long the main thread has waited for a processor since it began. */
function waitedMs(): number {
  if (schedstat === undefined) return 0;
  const length = readSync(schedstat, buffer, 0, buffer.length, 0);
  return Number(buffer.toString("latin1", 0, length).split(" ")[1]) / 1e6;
}

function open(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}
