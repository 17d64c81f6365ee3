import { spread, type Spread } from "./paired.ts";
import { start } from "./process.ts";
import type { World } from "./world.ts";

export interface Startup {
  readonly importMs: Spread;
  readonly joinMs: Spread;
  /** CPU of the main thread: what is left of import and join when nobody has to be waited for. */
  readonly cpuMs: Spread;
  readonly rssMb: Spread;
  /** The same of a process that does with Node's built-in modules what no join can do without. */
  readonly plainCpuMs: Spread;
  readonly plainRssMb: Spread;
}

/** V8's options of a process that starts. */
const asUsers: readonly string[] = [];

export async function measureStartup(world: World, times: number, progress: (text: string) => void): Promise<Startup> {
  progress(`import and join, ${times} times`);
  const env = world.environment("client");
  const all: Readonly<Record<string, number>>[] = [];
  const plain: Readonly<Record<string, number>>[] = [];
  for (let i = 0; i < times; i++) {
    all.push(...(await repeat(1, "startup", "subjects/startup.ts", env, [], asUsers)));
    plain.push(...(await repeat(1, "startup-plain", "subjects/startup-plain.ts", env, [], asUsers)));
  }
  const cpuMs = (one: Readonly<Record<string, number>>): number => one["importCpuMs"]! + one["joinCpuMs"]!;
  const rssMb = (one: Readonly<Record<string, number>>): number => one["rssBytes"]! / 2 ** 20;
  return {
    importMs: spread(all.map((one) => one["importMs"]!)),
    joinMs: spread(all.map((one) => one["joinMs"]!)),
    cpuMs: spread(all.map(cpuMs)),
    rssMb: spread(all.map(rssMb)),
    plainCpuMs: spread(plain.map(cpuMs)),
    plainRssMb: spread(plain.map(rssMb)),
  };
}

/** What an import costs: CPU of the main thread, and resident memory. */
export interface Load {
  readonly what: string;
  readonly cpuMs: Spread;
  readonly rssMb: Spread;
}

/** What a gRPC client loads: plain, through the mesh, and with gRPC's own xDS library. */
export async function measureLoad(times: number, progress: (text: string) => void): Promise<Load[]> {
  progress(`imports of gRPC, ${times} times`);
  const loads: Load[] = [];
  for (const modules of [["@grpc/grpc-js"], ["@grpc/grpc-js", "trama", "trama/grpc"], ["@grpc/grpc-js-xds"]]) {
    const all = await repeat(times, "load", "subjects/load.ts", {}, modules, asUsers);
    loads.push({
      what: modules.join(" + "),
      cpuMs: spread(all.map((one) => one["cpuMs"]!)),
      rssMb: spread(all.map((one) => one["rssBytes"]! / 2 ** 20)),
    });
  }
  return loads;
}

async function repeat(
  times: number,
  name: string,
  file: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
  options?: readonly string[],
): Promise<Readonly<Record<string, number>>[]> {
  const all: Readonly<Record<string, number>>[] = [];
  for (let i = 0; i < times; i++) {
    const subject = await start(name, file, args, env, options);
    all.push(subject.ready);
    await subject.close();
  }
  return all;
}
