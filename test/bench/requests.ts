import type { Effort, Pair, Side } from "./paired.ts";
import { runPairs } from "./paired.ts";
import { start, type Remote } from "./process.ts";
import { http2Host, serviceCount, type World } from "./world.ts";

type Progress = (text: string) => void;

/** Endpoints of each service, so that there is something to choose from; each is a port of the one backend process. */
const endpoints = 3;

/** The client through the mesh against undici Pools with the same TLS; both call the same plain server. */
export function measureClient(world: World, effort: Effort, progress: Progress): Promise<Pair[]> {
  return withBackend(world, (ports) =>
    runPairs(
      effort,
      () => plainClient(world, "backend", ports.slice(0, endpoints)),
      async () => alone(await start("client-mesh", "subjects/client-mesh.ts", [], world.environment("client"))),
      (pair, index) => progress(line("client", effort, pair, index)),
    ),
  );
}

/** Node's own client through the mesh against `node:https` with the same TLS. */
export function measureNode(world: World, effort: Effort, progress: Progress): Promise<Pair[]> {
  return withBackend(world, (ports) => {
    const args = [world.folder, "client", "backend", ...ports.slice(0, endpoints).map(String)];
    return runPairs(
      effort,
      async () => alone(await start("node-plain", "subjects/node-client-plain.ts", args)),
      async () => alone(await start("node-mesh", "subjects/node-client-mesh.ts", [], world.environment("client"))),
      (pair, index) => progress(line("node", effort, pair, index)),
    );
  });
}

/** Over HTTP/2: the client against undici's, and both kinds of server against `node:http2`. */
export async function measureHttp2(world: World, effort: Effort, progress: Progress): Promise<Http2> {
  const plainServer = (account: string, ports: number): Promise<Remote> =>
    start("http2-plain", "subjects/http2-server-plain.ts", [world.folder, account, String(ports)]);
  const backend = await plainServer("backend", endpoints);
  const client = await withBackend(world, async () => {
    try {
      const ports = Object.values(backend.ready);
      await world.registerHttp2(ports);
      return await runPairs(
        effort,
        () => plainClient(world, "backend", ports, "h2"),
        async () =>
          alone(await start("client-mesh", "subjects/client-mesh.ts", [http2Host], world.environment("client"))),
        (pair, index) => progress(line("HTTP/2 client", effort, pair, index)),
      );
    } finally {
      await backend.close();
    }
  });
  const serverPairs = (what: string, file: string): Promise<Pair[]> =>
    runPairs(
      effort,
      async () => loaded(world, await plainServer("target", 1), "h2"),
      async () => loaded(world, await start("server-mesh", file, [], world.environment("target")), "h2"),
      (pair, index) => progress(line(what, effort, pair, index)),
    );
  return {
    client,
    bridged: await serverPairs("HTTP/2 to a handler of node:http", "subjects/server-mesh.ts"),
    native: await serverPairs("HTTP/2 server", "subjects/http2-server-mesh.ts"),
  };
}

/** `bridged`: to a handler of `node:http`, which does not speak HTTP/2 itself (docs/adr/0005). */
export interface Http2 {
  readonly client: Pair[];
  readonly bridged: Pair[];
  readonly native: Pair[];
}

/** Runs it with the endpoints of the hundred services, all of them ports of one plain process. */
async function withBackend<T>(world: World, run: (ports: readonly number[]) => Promise<T>): Promise<T> {
  const backend = await start("backend", "subjects/server-plain.ts", [
    world.folder,
    "backend",
    String(endpoints * serviceCount),
  ]);
  try {
    const ports = Object.values(backend.ready);
    await world.registerBackend(ports);
    return await run(ports);
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

async function plainClient(world: World, server: string, ports: readonly number[], protocol?: "h2"): Promise<Side> {
  const args = [world.folder, "client", server, ...ports.map(String)];
  const file = protocol === "h2" ? "subjects/http2-client-plain.ts" : "subjects/client-plain.ts";
  return alone(await start("client-plain", file, args));
}

/** A client makes its own load. */
export function alone(client: Remote): Side {
  return { measured: client, load: client, close: () => client.close() };
}

async function loaded(world: World, server: Remote, protocol?: "h2"): Promise<Side> {
  const client = await plainClient(world, "target", Object.values(server.ready), protocol);
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
