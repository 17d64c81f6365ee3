import type { Effort, Pair, Side } from "./paired.ts";
import { runPairs } from "./paired.ts";
import { start } from "./process.ts";
import { alone, line } from "./requests.ts";
import type { CallKind } from "./subjects/grpc-service.ts";
import type { World } from "./world.ts";

type Progress = (text: string) => void;

/** Endpoints of the service; each is a port of the one server process. */
const endpoints = 3;

/** A gRPC client through the mesh, against plain grpc-js with the same TLS and against gRPC's own xDS client on the same control plane. */
export interface Grpc {
  readonly unary: Pair[];
  readonly stream: Pair[];
  readonly unaryOverXds: Pair[];
  readonly streamOverXds: Pair[];
}

/** The first comparison has a budget; of the others fewer pairs are enough to see where it stands. */
export async function measureGrpc(world: World, effort: Effort, progress: Progress): Promise<Grpc> {
  const server = await start("grpc server", "subjects/grpc-server.ts", [world.folder, "backend", String(endpoints)]);
  try {
    const ports = Object.values(server.ready).map(String);
    await world.registerRatings(Object.values(server.ready));
    const plain = async (kind: CallKind): Promise<Side> =>
      alone(await start("grpc-plain", "subjects/grpc-plain.ts", [kind, world.folder, "client", "backend", ...ports]));
    const xds = async (kind: CallKind): Promise<Side> =>
      alone(await start("grpc-xds", "subjects/grpc-xds.ts", [kind], await world.xdsEnvironment("client")));
    const mesh = async (kind: CallKind): Promise<Side> =>
      alone(await start("grpc-mesh", "subjects/grpc-mesh.ts", [kind], world.environment("client")));
    // A call costs several times what a request of HTTP/1.1 does.
    const calls = Math.ceil(effort.sliceRequests / 2);
    const pairs = (name: string, other: (kind: CallKind) => Promise<Side>, kind: CallKind, most: number) => {
      const own = { ...effort, sliceRequests: calls, pairs: Math.min(most, effort.pairs) };
      return runPairs(
        own,
        () => other(kind),
        () => mesh(kind),
        (pair, index) => progress(line(`${name} ${kind}`, own, pair, index)),
      );
    };
    return {
      unary: await pairs("grpc", plain, "unary", effort.pairs),
      stream: await pairs("grpc", plain, "stream", 3),
      unaryOverXds: await pairs("grpc-js-xds", xds, "unary", 3),
      streamOverXds: await pairs("grpc-js-xds", xds, "stream", 3),
    };
  } finally {
    await server.close();
  }
}
