import { setTimeout as sleep } from "node:timers/promises";

/**
 * Resources that a test may leave behind by mistake, as Node names them. Timers are not among them: the test runner has
 * its own, which come and go. A fake clock counts its `pending`.
 */
const WATCHED = ["TCPSocketWrap", "TCPServerWrap", "TLSWrap", "PipeWrap", "ProcessWrap", "FSEventWrap"];

/**
 * Remembers what is open now; the function it returns fails if more is open later. For `beforeAll` and `afterAll` of a
 * file that opens sockets, processes or watchers. Closing takes a few turns of the loop, so it looks again until
 * `graceMs` has passed.
 */
export function leakCheck(graceMs = 2_000): () => Promise<void> {
  const before = count();
  return async () => {
    const end = performance.now() + graceMs;
    for (;;) {
      const leaked = [...count()].filter(([name, open]) => open > (before.get(name) ?? 0));
      if (leaked.length === 0) return;
      if (performance.now() > end)
        throw new Error(
          `left open: ${leaked.map(([name, open]) => `${name} ×${open - (before.get(name) ?? 0)}`).join(", ")}`,
        );
      await sleep(10, undefined, { ref: false });
    }
  };
}

function count(): Map<string, number> {
  const open = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo())
    if (WATCHED.includes(name)) open.set(name, (open.get(name) ?? 0) + 1);
  return open;
}
