import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";

import { installPython } from "../install/python.ts";
import type { Capability, Context, Peer } from "../peer.ts";
import type { RunningProcess } from "../process.ts";
import { freePorts } from "../process.ts";
import { applicationAddress, type Protocol, type Sidecar, startEnvoy } from "./envoy.ts";
import { nodesOf, noneRefused } from "./grpc.ts";
import { connectionsRow } from "./connections.ts";
import type { Call } from "./http-round.ts";
import { nearRow } from "./near.ts";
import { type Joiner, outcomeOf, type Plane, until, withPlane } from "./plane.ts";
import { echoHost, echoPort, echoYaml, type EchoPlaces } from "./policy.ts";
import { calls, proxied, shared, text } from "./proxied.ts";
import { isShared, roundOf } from "./rounds.ts";
import { startSdk } from "./sdk.ts";

const callerProxy = "caller-proxy";

/** Envoy as a sidecar in our mesh, beside services on our SDK: v1 is on the SDK, v2 behind an Envoy; one caller has an Envoy, one the SDK. */
export const sidecars: readonly Peer[] = (["delta", "sotw"] as const).map((protocol) => ({
  name: `envoy sidecar, ${protocol}`,
  version: "1.40.0",
  needs: "python",
  install: installPython,
  capabilities: [
    capability("takes all that it is sent", protocol, async (_context, { plane, v2, caller }) => {
      const types = plane.clients(callerProxy).flatMap((client) => Object.keys(client.types));
      for (const type of ["Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment", "Secret"])
        if (!types.some((each) => each.endsWith(`.${type}`)))
          throw new Error(`it asked for no ${type}: ${types.join()}`);
      noneRefused(plane);
      const updates = (await Promise.all([v2.updates(), caller.updates()])).reduce((a, b) => a + b);
      return `${updates} updates, update_rejected 0; listeners, routes, clusters, endpoints, secrets`;
    }),
    capability("calls and is called: mutual TLS, weights, authorization", protocol, async (context, mesh) => {
      const fromEnvoy = await shared(context, mesh.throughEnvoy, 80);
      const fromSdk = await roundOf(context, mesh.sdkCaller, "80 : 20", (round) => isShared(round, calls, 80));
      return `Envoy → SDK : Envoy ${text(fromEnvoy)}; SDK → SDK : Envoy ${text(fromSdk)}; ${fromEnvoy.secret}`;
    }),
    capability("a change of weight is seen", protocol, async (context, mesh) => {
      await shared(context, mesh.throughEnvoy, 80);
      mesh.plane.write(echoYaml({ ...mesh.places, weight: 0 }));
      const all = await shared(context, mesh.throughEnvoy, 0);
      mesh.plane.write(echoYaml({ ...mesh.places, weight: 50 }));
      const half = await shared(context, mesh.throughEnvoy, 50);
      noneRefused(mesh.plane);
      await Promise.all([mesh.v2.updates(), mesh.caller.updates()]);
      return `80 : 20 → ${text(all)} → ${text(half)}`;
    }),
    capability("a renewed certificate is taken up without a restart", protocol, async (context, mesh) => {
      await shared(context, mesh.throughEnvoy, 80);
      const before = await mesh.v2.serials();
      const file = await mesh.v2.renew();
      const { serialNumber } = new X509Certificate(readFileSync(join(dirname(file), "cert-chain.pem")));
      await until(
        context,
        `${serialNumber} in use`,
        async () => (await mesh.v2.serials()).includes(serialNumber) || undefined,
      );
      if (before.includes(serialNumber)) throw new Error("the certificate is the same as before");
      const after = await shared(context, mesh.throughEnvoy, 80);
      return `new serial ${serialNumber.slice(0, 8)}… in use; then ${text(after)}`;
    }),
    capability("what it refuses is in our status, and disturbs nobody else", protocol, async (context, mesh) => {
      // It asks for a listener at an address that no machine has (RFC 5737).
      const odd: Joiner = { ...nodesOf(context).caller, workload: "refuser", address: context.addresses.at(38) };
      await startEnvoy(context, mesh.plane, odd, protocol, "192.0.2.1:15001");
      const nack = await until(
        context,
        "a NACK in the status",
        () =>
          mesh.plane
            .clients("refuser")
            .flatMap(({ types }) => Object.values(types))
            .find(({ nacked }) => nacked > 0)?.nackText,
      );
      await shared(context, mesh.throughEnvoy, 80);
      await roundOf(context, mesh.sdkCaller, "80 : 20", (round) => isShared(round, calls, 80));
      return nack.slice(0, 120);
    }),
    nearRow(protocol),
    connectionsRow(protocol),
  ],
}));

interface SidecarMesh {
  readonly plane: Plane;
  readonly places: Omit<EchoPlaces, "weight">;
  readonly v2: Sidecar;
  readonly caller: Sidecar;
  /** A call by the caller that has an Envoy. */
  readonly throughEnvoy: Call;
  /** The caller that has our SDK calls round after round. */
  readonly sdkCaller: RunningProcess;
}

function capability(
  name: string,
  protocol: Protocol,
  body: (context: Context, mesh: SidecarMesh) => Promise<string>,
): Capability {
  return {
    name,
    limitMs: 90_000,
    run: (context) => outcomeOf(() => withSidecars(context, protocol, (mesh) => body(context, mesh))),
  };
}

async function withSidecars(
  context: Context,
  protocol: Protocol,
  body: (mesh: SidecarMesh) => Promise<string>,
): Promise<string> {
  const nodes = nodesOf(context);
  const proxy: Joiner = { ...nodes.caller, workload: callerProxy, address: context.addresses.at(37) };
  const [port1 = 0] = await freePorts(1, nodes.v1.address);
  const [port2 = 0] = await freePorts(1, nodes.v2.address);
  const places = {
    v1: { address: nodes.v1.address, port: port1 },
    v2: { address: nodes.v2.address, port: port2 },
    protocol: "HTTP",
  } as const;
  return withPlane(context, echoYaml({ ...places, weight: 80 }), [], async (plane) => {
    await startSdk(plane, "http-peer.ts", nodes.v1, "server", "v1", `${nodes.v1.address}:${port1}`);
    await startApplication(context, plane, port2);
    const v2 = await startEnvoy(
      context,
      plane,
      nodes.v2,
      protocol,
      `${nodes.v2.address}:${(await freePorts(1, nodes.v2.address))[0]}`,
    );
    const outbound = `${proxy.address}:${(await freePorts(1, proxy.address))[0]}`;
    const caller = await startEnvoy(context, plane, proxy, protocol, outbound);
    const sdkCaller = await startSdk(
      plane,
      "http-peer.ts",
      nodes.caller,
      "client",
      `http://${echoHost}:${echoPort}`,
      String(calls),
    );
    return body({
      plane,
      places,
      v2,
      caller,
      throughEnvoy: (path) => proxied(outbound, path),
      sdkCaller,
    });
  });
}

/** v2: an application that knows nothing of the mesh; its sidecar tells it who calls. */
async function startApplication(context: Context, plane: Plane, port: number): Promise<void> {
  const server = createServer((incoming, response) => {
    const from = /(?:^|;)URI=([^;,]+)/.exec(String(incoming.headers["x-forwarded-client-cert"]))?.[1];
    response.end(`v2 ${incoming.headers["x-trama-peer"] === undefined ? (from ?? "-") : "was told of x-trama-peer"}`);
  });
  await new Promise<void>((resolve) => server.listen(port, applicationAddress(context), resolve));
  plane.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
}
