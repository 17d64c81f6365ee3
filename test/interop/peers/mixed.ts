import { Server, ServerCredentials } from "@grpc/grpc-js";

import { installPython } from "../install/python.ts";
import { echo, echoService } from "../node/echo-service.ts";
import type { Context, Peer } from "../peer.ts";
import type { RunningProcess } from "../process.ts";
import { freePorts } from "../process.ts";
import { applicationAddress, startEnvoy } from "./envoy.ts";
import { noneRefused, startClient, startServer } from "./grpc.ts";
import { go, js, type Language, python } from "./languages.ts";
import { type Joiner, outcomeOf, type Plane, withPlane } from "./plane.ts";
import { echoHost, echoPort, mixedYaml } from "./policy.ts";
import { caller, denied, type Round, roundOf } from "./rounds.ts";
import { startSdk } from "./sdk.ts";

const calls = 100;
const languages = { go, python, js } as const;
const serverNames = ["go", "python", "js", "trama", "envoy"] as const;
type ServerName = (typeof serverNames)[number];

const clientNames = ["go", "python", "js", "trama"] as const;

function serverOf({ addresses }: Context, name: ServerName): Joiner {
  return {
    serviceAccount: "echo",
    workload: `echo-${name}`,
    address: addresses.at(51 + serverNames.indexOf(name)),
    labels: { app: "echo", language: name },
  };
}

function clientOf({ addresses }: Context, name: (typeof clientNames)[number]): Joiner {
  return {
    serviceAccount: "caller",
    workload: `caller-${name}`,
    address: addresses.at(61 + clientNames.indexOf(name)),
    labels: {},
  };
}

/** Five kinds of server behind one name, four kinds of client, one policy. */
export const mixed: Peer = {
  name: "mixed mesh",
  version: "",
  needs: "go",
  async install(cache) {
    await installPython(cache);
    for (const language of Object.values(languages)) await language.install(cache);
  },
  capabilities: [
    {
      name: "each calls each: Go, Python, grpc-js-xds, our SDK; Envoy as a server",
      limitMs: 120_000,
      async run(context) {
        const server = (name: ServerName): Joiner => serverOf(context, name);
        const address = (name: ServerName): string => server(name).address;
        const ports = new Map<ServerName, number>();
        for (const name of serverNames) ports.set(name, (await freePorts(1, address(name)))[0] ?? 0);
        const places = serverNames.map((name) => ({ name, address: address(name), port: ports.get(name) ?? 0 }));
        const plain = [server("js"), clientOf(context, "js")];
        return outcomeOf(() =>
          withPlane(context, mixedYaml(places), plain, async (plane) => {
            for (const [name, language] of Object.entries(languages) as [keyof typeof languages, Language][])
              await startServer(context, plane, language, name, server(name), ports.get(name) ?? 0);
            await startSdk(
              plane,
              "grpc-peer.ts",
              server("trama"),
              "server",
              "trama",
              `${address("trama")}:${ports.get("trama")}`,
            );
            await startApplication(context, plane, ports.get("envoy") ?? 0);
            await startEnvoy(
              context,
              plane,
              server("envoy"),
              "delta",
              `${address("envoy")}:${(await freePorts(1, address("envoy")))[0]}`,
            );
            const shares: string[] = [];
            for (const [name, start] of callers(context, plane)) {
              const running = await start();
              const round = await roundOf(context, running, `${name} reaches all five`, reachesAll);
              await running.stop();
              shares.push(`${name} → ${serverNames.map((to) => `${to} ${round.say[`${to} ${caller}`]}`).join(" ")}`);
            }
            noneRefused(plane);
            return shares.join("; ");
          }),
        );
      },
    },
  ],
};

function callers(context: Context, plane: Plane): readonly [string, () => Promise<RunningProcess>][] {
  return [
    ["go", () => startClient(context, plane, go, calls, clientOf(context, "go"))],
    ["python", () => startClient(context, plane, python, calls, clientOf(context, "python"))],
    ["js", () => startClient(context, plane, js, calls, clientOf(context, "js"))],
    [
      "trama",
      () =>
        startSdk(plane, "grpc-peer.ts", clientOf(context, "trama"), "client", `${echoHost}:${echoPort}`, String(calls)),
    ],
  ];
}

function reachesAll({ say, errors, secret }: Round): boolean {
  const answers = serverNames.map((name) => say[`${name} ${caller}`] ?? 0);
  return (
    Object.keys(errors).length === 0 &&
    answers.every((count) => count > 0) &&
    answers.reduce((a, b) => a + b) === calls &&
    denied.test(secret)
  );
}

/** A gRPC server that knows nothing of the mesh, behind an Envoy that tells it who calls. */
async function startApplication(context: Context, plane: Plane, port: number): Promise<void> {
  const application = new Server();
  application.addService(
    echoService,
    echo(
      "envoy",
      ({ metadata }) => /(?:^|;)URI=([^;,]+)/.exec(String(metadata.get("x-forwarded-client-cert")[0]))?.[1],
    ),
  );
  await new Promise<void>((resolve, reject) => {
    const bound = (error: Error | null): void => (error === null ? resolve() : reject(error));
    application.bindAsync(`${applicationAddress(context)}:${port}`, ServerCredentials.createInsecure(), bound);
  });
  plane.defer(async () => application.forceShutdown());
}
