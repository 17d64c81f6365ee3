import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits until `condition` gives something other than `false` or `undefined`, and gives that back. A test never sleeps to let
 * things happen: it says what must become true, and by when.
 */
export async function until<T>(
  what: string,
  condition: () => T | false | undefined | Promise<T | false | undefined>,
  withinMs: number = 15_000,
): Promise<T> {
  const endMs = performance.now() + withinMs;
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 1.5, 100)) {
    const value = await condition();
    if (value !== false && value !== undefined) return value;
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(pauseMs);
  }
}

/** The named short time during which something must not happen, or a state must last. */
export async function during(ms: number): Promise<void> {
  await sleep(ms);
}
