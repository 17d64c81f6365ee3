/** Waits until something holds that other turns of the event loop, or other processes, bring about; fails after four seconds. */
export async function until(holds: () => boolean, what = "it holds"): Promise<void> {
  const end = performance.now() + 4_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until a count has stopped to change for a while, and returns it. */
export async function settled(count: () => number): Promise<number> {
  for (let before = -1, now = count(); ; before = now, now = count()) {
    if (before === now) return now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
