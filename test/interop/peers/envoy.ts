import { join } from "node:path";

import { pythonBin } from "../install/python.ts";
import type { Context } from "../peer.ts";
import { freePorts } from "../process.ts";
import { type Joiner, type Plane, until } from "./plane.ts";

/** Where the application behind a sidecar listens; nobody but its sidecar calls it there. */
export function applicationAddress({ addresses }: Context): string {
  return addresses.at(36);
}

export type Protocol = "delta" | "sotw";

export interface Sidecar {
  /** How many updates it took; an error if it rejected one. */
  updates(): Promise<number>;
  /** Serial numbers of the certificates that it shows. */
  serials(): Promise<readonly string[]>;
  /** Has `bootstrap` write a new generation of its files. */
  renew(): Promise<string>;
}

/** An Envoy in its place beside an application, joined by what the command `bootstrap` wrote. */
export async function startEnvoy(
  context: Context,
  plane: Plane,
  node: Joiner,
  protocol: Protocol,
  outbound: string,
): Promise<Sidecar> {
  const admin = `${node.address}:${(await freePorts(1, node.address))[0]}`;
  const places = ["--admin", admin, "--outbound", outbound, "--application", applicationAddress(context)];
  const bootstrap = (): Promise<string> => plane.bootstrap(node, "--for", "envoy", "--xds", protocol, ...places);
  const flags = ["--concurrency", "1", "--disable-hot-restart", "--reject-unknown-dynamic-fields", "-l", "error"];
  const running = plane.start(join(pythonBin(context.cache), "envoy"), ["-c", await bootstrap(), ...flags]);
  const ask = async (path: string): Promise<string> =>
    (await fetch(`http://${admin}${path}`, { signal: context.signal })).text();
  const ended = running.ended.then((why): never => {
    throw new Error(`envoy of ${node.workload} ended (${why}): ${running.output().slice(-1_000)}`);
  });
  const ready = until(
    context,
    `envoy of ${node.workload} is ready`,
    async () => (await ask("/ready").catch(() => "")).trim() === "LIVE" || undefined,
  );
  ended.catch(() => {});
  ready.catch(() => {});
  await Promise.race([ready, ended]);
  return {
    async updates() {
      const stats = (await ask("/stats?filter=update_(success|rejected)$")).trim().split("\n");
      let taken = 0;
      for (const line of stats) {
        const [name = "", value = ""] = line.split(/: (?=\d+$)/);
        if (name.endsWith("update_rejected") && value !== "0") throw new Error(line);
        taken += Number(value);
      }
      return taken;
    },
    async serials() {
      const { certificates } = JSON.parse(await ask("/certs")) as {
        certificates: { cert_chain?: { serial_number: string }[] }[];
      };
      return certificates.flatMap(
        ({ cert_chain }) => cert_chain?.map((each) => each.serial_number.toUpperCase()) ?? [],
      );
    },
    renew: bootstrap,
  };
}
