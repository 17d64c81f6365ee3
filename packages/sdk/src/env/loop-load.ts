import type { Admission, Clock } from "@trama/engine";

/** Between looks at the loop, and of the timer whose lateness is what is measured. */
const everyMs = 250;
const resolutionMs = 10;

/**
 * Tells the admission how the event loop does, until it is stopped. Costs a timer each 10 ms; keeps nothing alive. Not Node's own
 * `monitorEventLoopDelay`: its `reset` forgets the block that is just ending.
 */
export function watchLoop(admission: Admission, clock: Clock): () => void {
  let lastMs = clock.now();
  let sum = 0;
  let squares = 0;
  const turn = (): void => {
    const now = clock.now();
    const ms = now - lastMs;
    lastMs = now;
    sum += ms;
    squares += ms * ms;
  };
  let before = performance.eventLoopUtilization();
  const look = (): void => {
    turn();
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    // Weighted by itself it is what whoever comes at any time meets: one long block counts for as long as it lasted, not as one
    // value among many.
    admission.onLoad(Math.max(0, squares / sum - resolutionMs), utilization);
    sum = squares = 0;
    timer = clock.after(everyMs, look);
  };
  const ticker = setInterval(turn, resolutionMs);
  ticker.unref();
  let timer = clock.after(everyMs, look);
  return () => {
    timer.cancel();
    clearInterval(ticker);
  };
}
