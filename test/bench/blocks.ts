import { spread, type Spread } from "./paired.ts";
import { start } from "./process.ts";
import type { Turns } from "./subjects/turns.ts";
import type { World } from "./world.ts";

/**
 * The longest turn of the event loop of a process that has just joined, in milliseconds: while the assignment of 10,000 endpoints
 * arrives that it asked for, and while one of them changes, several times, the first time included. The whole way is in it: the socket,
 * decoding, assembling, compiling.
 */
export interface Blocks {
  readonly bigEds: Spread;
  readonly endpointChange: Spread;
  /** Of the first change in each process. */
  readonly firstChange: Spread;
  /** The same three without V8's garbage collections. */
  readonly withoutGc: { readonly bigEds: Spread; readonly endpointChange: Spread; readonly firstChange: Spread };
  /**
   * Of `@grpc/grpc-js-xds` on the same control plane, once: it connects to every endpoint, and may not come back from that in time.
   * Absent when it was not asked.
   */
  readonly xds: { readonly bigEds: number; readonly endpointChange: number } | "no answer" | undefined;
}

const changes = 4;

export async function measureBlocks(
  world: World,
  times: number,
  withXds: boolean,
  progress: (text: string) => void,
): Promise<Blocks> {
  progress(`10,000 endpoints arrive, and one changes, ${times} times`);
  await world.registerBackend([9]);
  let turn = 0;
  const change = (): Promise<void> => world.registerBig(turn++);
  await change();
  const bigEds: Turns[] = [];
  const firsts: Turns[] = [];
  const all: Turns[] = [];
  for (let i = 0; i < times; i++) {
    const subject = await start("blocks-mesh", "subjects/blocks-mesh.ts", [], world.environment("client"), []);
    try {
      bigEds.push((await subject.figures("arrive")) as Turns);
      const took: Turns[] = [];
      for (let n = 0; n < changes; n++) {
        const figures = subject.figures("change");
        await change();
        took.push((await figures) as Turns);
      }
      firsts.push(took[0]!);
      all.push({
        longestMs: Math.max(...took.map(({ longestMs }) => longestMs)),
        withoutGcMs: Math.max(...took.map(({ withoutGcMs }) => withoutGcMs)),
      });
      const turns = took.map(text).join(", ");
      progress(
        `longest turns, process ${i + 1} of ${times} (without collections): ${text(bigEds[i]!)} ms, then ${turns} ms`,
      );
    } finally {
      await subject.close();
    }
  }
  const longest = (turns: readonly Turns[]): Spread => spread(turns.map(({ longestMs }) => longestMs));
  const without = (turns: readonly Turns[]): Spread => spread(turns.map(({ withoutGcMs }) => withoutGcMs));
  return {
    bigEds: longest(bigEds),
    endpointChange: longest(all),
    firstChange: longest(firsts),
    withoutGc: { bigEds: without(bigEds), endpointChange: without(all), firstChange: without(firsts) },
    xds: withXds ? await xds(world, change).catch((): "no answer" => "no answer") : undefined,
  };
}

function text({ longestMs, withoutGcMs }: Turns): string {
  return `${longestMs.toFixed(1)} (${withoutGcMs.toFixed(1)})`;
}

async function xds(world: World, change: () => Promise<void>): Promise<Blocks["xds"]> {
  const subject = await start("blocks-xds", "subjects/blocks-xds.ts", [], await world.xdsEnvironment("client"), []);
  try {
    const bigEds = (await subject.figures("arrive"))["longestMs"]!;
    const figures = subject.figures("change");
    await change();
    return { bigEds, endpointChange: (await figures)["longestMs"]! };
  } finally {
    await subject.close();
  }
}
