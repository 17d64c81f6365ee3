import { spread, type Spread } from "./paired.ts";
import { start } from "./process.ts";
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
  const bigEds: number[] = [];
  const firsts: number[] = [];
  const all: number[] = [];
  for (let i = 0; i < times; i++) {
    const subject = await start("blocks-mesh", "subjects/blocks-mesh.ts", [], world.environment("client"));
    try {
      bigEds.push((await subject.figures("arrive"))["longestMs"]!);
      const took: number[] = [];
      for (let n = 0; n < changes; n++) {
        const figures = subject.figures("change");
        await change();
        took.push((await figures)["longestMs"]!);
      }
      firsts.push(took[0]!);
      all.push(Math.max(...took));
      const turns = took.map((ms) => ms.toFixed(1)).join(", ");
      progress(`longest turns, process ${i + 1} of ${times}: ${bigEds[i]!.toFixed(1)} ms, then ${turns} ms`);
    } finally {
      await subject.close();
    }
  }
  return {
    bigEds: spread(bigEds),
    endpointChange: spread(all),
    firstChange: spread(firsts),
    xds: withXds ? await xds(world, change).catch((): "no answer" => "no answer") : undefined,
  };
}

async function xds(world: World, change: () => Promise<void>): Promise<Blocks["xds"]> {
  const subject = await start("blocks-xds", "subjects/blocks-xds.ts", [], await world.xdsEnvironment("client"));
  try {
    const bigEds = (await subject.figures("arrive"))["longestMs"]!;
    const figures = subject.figures("change");
    await change();
    return { bigEds, endpointChange: (await figures)["longestMs"]! };
  } finally {
    await subject.close();
  }
}
