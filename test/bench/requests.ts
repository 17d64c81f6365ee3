import type { Effort, Pair, Side } from "./paired.ts";
import { runPairs } from "./paired.ts";
import { start, type Remote } from "./process.ts";
import { serviceCount, type World } from "./world.ts";

type Progress = (text: string) => void;

/** Endpoints of each service, so that there is something to choose from; each is a port of the one backend process. */
const endpoints = 3;

/** The client through the mesh against undici Pools with the same TLS; both call the same plain server. */
export async function measureClient(world: World, effort: Effort, progress: Progress): Promise<Pair[]> {
  const backend = await start("backend", "subjects/server-plain.ts", [
    world.folder,
    "backend",
    String(endpoints * serviceCount),
  ]);
  try {
    const ports = Object.values(backend.ready);
    await world.registerBackend(ports);
    return await runPairs(
      effort,
      () => plainClient(world, "backend", ports.slice(0, endpoints)),
      async () => alone(await start("client-mesh", "subjects/client-mesh.ts", [], world.environment("client"))),
      (pair, index) => progress(line("client", effort, pair, index)),
    );
  } finally {
    await backend.close();
  }
}

/** A protected server against `node:https` that demands a client certificate; the same plain client loads both. */
export function measureServer(world: World, effort: Effort, progress: Progress): Promise<Pair[]> {
  return runPairs(
    effort,
    async () => loaded(world, await start("server-plain", "subjects/server-plain.ts", [world.folder, "target"])),
    async () => loaded(world, await start("server-mesh", "subjects/server-mesh.ts", [], world.environment("target"))),
    (pair, index) => progress(line("server", effort, pair, index)),
  );
}

/** The plain client against itself: what this machine, today, shows as a difference where there is none. */
export async function measureNoise(world: World, effort: Effort, progress: Progress): Promise<Pair[]> {
  const backend = await start("backend", "subjects/server-plain.ts", [world.folder, "backend", String(endpoints)]);
  try {
    const side = (): Promise<Side> => plainClient(world, "backend", Object.values(backend.ready));
    return await runPairs(effort, side, side, (pair, index) => progress(line("noise", effort, pair, index)));
  } finally {
    await backend.close();
  }
}

async function plainClient(world: World, server: string, ports: readonly number[]): Promise<Side> {
  const args = [world.folder, "client", server, ...ports.map(String)];
  return alone(await start("client-plain", "subjects/client-plain.ts", args));
}

/** A client makes its own load. */
export function alone(client: Remote): Side {
  return { measured: client, load: client, close: () => client.close() };
}

async function loaded(world: World, server: Remote): Promise<Side> {
  const client = await plainClient(world, "target", Object.values(server.ready));
  return {
    measured: server,
    load: client.load,
    async close() {
      await client.close();
      await server.close();
    },
  };
}

export function line(what: string, effort: Effort, pair: Pair, index: number): string {
  const { plain, mesh, cpuRatio, addedUs, addedBytes } = pair;
  return (
    `${what} pair ${index + 1} of ${effort.pairs}: CPU ${plain.cpuUs.toFixed(1)} → ${mesh.cpuUs.toFixed(1)} µs a request ` +
    `(× ${cpuRatio.toFixed(3)}, ${addedUs.toFixed(1)} µs), heap ${addedBytes.toFixed(0)} bytes more`
  );
}
