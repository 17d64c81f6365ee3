import type { Capability, Context, Peer } from "../peer.ts";
import type { RunningProcess } from "../process.ts";
import { freePorts } from "../process.ts";
import type { Language } from "./languages.ts";
import { go, js, python } from "./languages.ts";
import { type Joiner, outcomeOf, type Plane, until, withPlane } from "./plane.ts";
import { echoHost, echoPort, echoYaml, type EchoPlaces } from "./policy.ts";
import { answered, caller, isShared, roundOf } from "./rounds.ts";

const calls = 100;
/** Where they fail, each waits for its deadline. */
const few = 5;

/** Who takes part, each at an address of this run. */
export function nodesOf({ addresses }: Context): Readonly<Record<"v1" | "v2" | "caller" | "refuser", Joiner>> {
  const server = (version: string, last: number): Joiner => ({
    serviceAccount: "echo",
    workload: `echo-${version}`,
    address: addresses.at(last),
    labels: { app: "echo", version },
  });
  return {
    v1: server("v1", 31),
    v2: server("v2", 32),
    caller: { serviceAccount: "caller", workload: "caller", address: addresses.at(33), labels: {} },
    refuser: { ...server("v1", 34), workload: "refuser" },
  };
}

/** R34 from the other side: without its switch the library must refuse a Listener with an authorization filter. */
const refusal: Capability = {
  name: "what it refuses is in our status, and disturbs nobody else",
  limitMs: 60_000,
  run: (context) =>
    echoing(context, js, async ({ plane, client, places }) => {
      await roundOf(context, client, "answers", (r) => isShared(r, calls, 80));
      const { refuser } = nodesOf(context);
      const boot = await plane.bootstrap(refuser, ...plaintextOption(plane, js));
      const [file, ...args] = js.command(context.cache);
      plane.start(file, [...args, "server", "v1", `${refuser.address}:${places.v1.port}`], {
        GRPC_XDS_BOOTSTRAP: boot,
        GRPC_XDS_EXPERIMENTAL_RBAC: "false",
      });
      const text = await until(
        context,
        "a NACK in the status",
        () =>
          plane
            .clients("refuser")
            .flatMap(({ types }) => Object.values(types))
            .find(({ nacked }) => nacked > 0)?.nackText,
      );
      await roundOf(context, client, "the others go on", (r) => isShared(r, calls, 80));
      return text.slice(0, 120);
    }),
};

/** gRPC's own libraries as clients and servers of our control plane. */
export const grpcPeers: readonly Peer[] = [go, python, js].map((language) => ({
  name: language.name,
  version: language.version,
  needs: language.needs,
  install: (cache) => language.install(cache),
  capabilities: [
    {
      name: "client and server: mutual TLS, weights, authorization",
      limitMs: 60_000,
      run: (context) =>
        echoing(context, language, async (mesh) => {
          const round = await roundOf(context, mesh.client, "80 : 20, and one method denied", (r) =>
            isShared(r, calls, 80),
          );
          noneRefused(mesh.plane);
          return `${answered(round, "v1")} : ${answered(round, "v2")} of ${calls} as ${caller}; ${round.secret}`;
        }),
    },
    {
      name: "a change of weight is seen",
      limitMs: 60_000,
      run: (context) =>
        echoing(context, language, async (mesh) => {
          await roundOf(context, mesh.client, "80 : 20", (r) => isShared(r, calls, 80));
          mesh.plane.write(echoYaml({ ...mesh.places, weight: 0 }));
          await roundOf(context, mesh.client, "0 : 100", (r) => answered(r, "v2") === calls);
          mesh.plane.write(echoYaml({ ...mesh.places, weight: 50 }));
          const round = await roundOf(context, mesh.client, "50 : 50", (r) => isShared(r, calls, 50));
          noneRefused(mesh.plane);
          return `80 : 20 → 0 : 100 → ${answered(round, "v1")} : ${answered(round, "v2")}`;
        }),
    },
    {
      name: "a server of another account is refused by its client",
      limitMs: 60_000,
      run: (context) =>
        echoing(
          context,
          language,
          async (mesh) => {
            // Its servers are echo, and it is told that they are somebody else.
            const failed = await roundOf(
              context,
              mesh.client,
              "no call gets through",
              (r) => Object.keys(r.errors).length > 0,
            );
            if (Object.keys(failed.say).length > 0) throw new Error(`got through: ${JSON.stringify(failed)}`);
            mesh.plane.write(echoYaml({ ...mesh.places, weight: 80 }));
            await roundOf(context, mesh.client, "answers", (r) => isShared(r, few, 80));
            return Object.keys(failed.errors)[0]?.slice(0, 160) ?? "";
          },
          { account: "somebody-else", calls: few },
        ),
    },
    ...(language === js ? [refusal] : []),
  ],
}));

interface Echoing {
  readonly plane: Plane;
  readonly places: Omit<EchoPlaces, "weight">;
  readonly client: RunningProcess;
}

/** Two servers and a client of one language. */
async function echoing(
  context: Context,
  language: Language,
  body: (mesh: Echoing) => Promise<string>,
  options: { readonly account?: string; readonly calls?: number } = {},
): ReturnType<Capability["run"]> {
  const nodes = nodesOf(context);
  const [port1 = 0] = await freePorts(1, nodes.v1.address);
  const [port2 = 0] = await freePorts(1, nodes.v2.address);
  const places = {
    v1: { address: nodes.v1.address, port: port1 },
    v2: { address: nodes.v2.address, port: port2 },
  };
  const plain = Object.values(nodes);
  const { account = "echo", calls: callsOfRound = calls } = options;
  const yaml = echoYaml({ ...places, weight: 80, account });
  return withPlane(context, yaml, language.plaintext ? plain : [], async (plane) => {
    await startServer(context, plane, language, "v1", nodes.v1, port1);
    await startServer(context, plane, language, "v2", nodes.v2, port2);
    const client = await startClient(context, plane, language, callsOfRound);
    return outcomeOf(() => body({ plane, places, client }));
  });
}

export async function startServer(
  context: Context,
  plane: Plane,
  language: Language,
  name: string,
  node: Joiner,
  port: number,
): Promise<RunningProcess> {
  const boot = await plane.bootstrap(node, ...plaintextOption(plane, language));
  const [file, ...args] = language.command(context.cache);
  return plane.start(file, [...args, "server", name, `${node.address}:${port}`], {
    ...language.env,
    GRPC_XDS_BOOTSTRAP: boot,
  });
}

export async function startClient(
  context: Context,
  plane: Plane,
  language: Language,
  callsOfRound: number,
  node: Joiner = nodesOf(context).caller,
): Promise<RunningProcess> {
  const boot = await plane.bootstrap(node, ...plaintextOption(plane, language));
  const [file, ...args] = language.command(context.cache);
  const target = `xds:///${echoHost}:${echoPort}`;
  return plane.start(file, [...args, "client", target, String(callsOfRound)], {
    ...language.env,
    GRPC_XDS_BOOTSTRAP: boot,
  });
}

function plaintextOption({ controlPlane }: Plane, language: Language): string[] {
  return language.plaintext && controlPlane.plaintextAddress !== undefined
    ? ["--plaintext", controlPlane.plaintextAddress]
    : [];
}

/** Nobody refused anything that we sent (S46). */
export function noneRefused({ controlPlane }: Plane): void {
  for (const { workload, types } of controlPlane.status().clients)
    for (const [typeUrl, { nacked, nackText }] of Object.entries(types))
      if (nacked > 0) throw new Error(`${workload} refused ${typeUrl}: ${nackText}`);
}
