import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toJson } from "@bufbuild/protobuf";
import { loadRegistry } from "@trama/proto";
import { BootstrapSchema } from "@trama/proto/envoy/config/bootstrap/v3/bootstrap_pb.js";

import { pythonBin } from "../install/python.ts";
import type { Context } from "../peer.ts";
import { startProcess } from "../process.ts";
import { socketAddress } from "../../kit/xds-resources.ts";

export type BootstrapInit = Exclude<MessageInitShape<typeof BootstrapSchema>, { $typeName: string }>;

export interface RunningEnvoy {
  /** Asks the administration port; `/config_dump`, `/stats?filter=…`. */
  admin(path: string): Promise<string>;
  /** Where a listener is really bound: for those that asked for port 0. */
  listenerPort(name: string): Promise<number>;
  readonly pid: number;
  stop(): Promise<void>;
}

const host = "127.0.0.1";

/** Envoy's own limit on the size of a regex is 100, which sidecars lift as well; ours is on the length of the pattern. */
const runtime: BootstrapInit["layeredRuntime"] = {
  layers: [
    { name: "limits", layerSpecifier: { case: "staticLayer", value: { "re2.max_program_size.error_level": 100_000 } } },
  ],
};

/** The bootstrap as a file that Envoy reads; every Any in it is of a type that we generate. */
export async function writeBootstrap(path: string, bootstrap: BootstrapInit): Promise<void> {
  const registry = await loadRegistry();
  writeFileSync(
    path,
    JSON.stringify(toJson(BootstrapSchema, create(BootstrapSchema, bootstrap), { registry }), null, 1),
  );
}

export function envoyProgram(context: Pick<Context, "cache">): string {
  return join(pythonBin(context.cache), "envoy");
}

/** Starts Envoy with its administration port on a free port of loopback, and waits until all of its listeners take connections. */
export async function startEnvoy(context: Context, name: string, bootstrap: BootstrapInit): Promise<RunningEnvoy> {
  const file = join(context.scratch, `${name}.json`);
  const adminFile = join(context.scratch, `${name}.admin`);
  await writeBootstrap(file, { layeredRuntime: runtime, ...bootstrap, admin: { address: socketAddress(host, 0) } });
  // One worker, so that what balances is repeatable; no hot restart, so that several of them share nothing.
  const args = [
    "-c",
    file,
    "--concurrency",
    "1",
    "--disable-hot-restart",
    "-l",
    "error",
    "--admin-address-path",
    adminFile,
  ];
  const running = startProcess(envoyProgram(context), args, { cwd: context.scratch, signal: context.signal });
  const gone = running.ended.then((why): never => {
    throw new Error(`envoy ${name} is gone (${why}): ${running.output().slice(-1_500)}`);
  });
  gone.catch(() => {});
  const admin = async (path: string): Promise<string> => {
    const response = await Promise.race([fetch(`http://${readFileSync(adminFile, "utf8")}${path}`), gone]);
    return response.text();
  };
  try {
    await Promise.race([ready(admin, context.signal), gone]);
  } catch (error) {
    await running.stop();
    throw error;
  }
  return {
    admin,
    pid: running.pid,
    stop: () => running.stop(),
    async listenerPort(wanted) {
      const all = JSON.parse(await admin("/listeners?format=json")) as {
        listener_statuses: { name: string; local_address: { socket_address: { port_value: number } } }[];
      };
      const found = all.listener_statuses.find((each) => each.name === wanted);
      if (found === undefined) throw new Error(`envoy has no listener ${wanted}`);
      return found.local_address.socket_address.port_value;
    },
  };
}

async function ready(admin: (path: string) => Promise<string>, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    // The file with the address does not exist yet, or nothing listens there yet.
    const state = await admin("/ready").catch(() => "");
    if (state.trim() === "LIVE") return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
