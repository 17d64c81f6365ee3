import { request } from "node:http";
import { type Socket, connect, createServer } from "node:net";

import type { Capability, Context } from "../peer.ts";
import { freePorts } from "../process.ts";
import { applicationAddress, type Protocol, startEnvoy } from "./envoy.ts";
import { nodesOf, noneRefused } from "./grpc.ts";
import { type Joiner, outcomeOf, type Plane, until, withPlane } from "./plane.ts";
import { caller as callerId, roundOf, type Round } from "./rounds.ts";
import { startSdk } from "./sdk.ts";
import { exchange, oneRound } from "./tcp-round.ts";

const host = "db.demo.svc.cluster.local";
const port = 5_432;
const calls = 16;

interface Places {
  readonly v1: { readonly address: string; readonly port: number };
  readonly v2: { readonly address: string; readonly port: number };
}

/** Two versions of a service of connections, half of them each, for one account; and a service of requests, which takes none. */
function yaml({ v1, v2 }: Places, allowed: string): string {
  const endpoint = (version: string, place: Places["v1"]): string =>
    `{ address: ${place.address}, ports: { tcp: ${place.port} }, serviceAccount: echo, labels: { version: ${version} } }`;
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: db, namespace: demo }
spec:
  hosts: [${host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: ${port}, name: tcp }]
  endpoints: [${endpoint("v1", v1)}, ${endpoint("v2", v2)}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: web, namespace: demo }
spec: { hosts: [web], resolution: STATIC, ports: [{ number: 80, name: http }], endpoints: [{ address: ${v1.address} }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: db, namespace: demo }
spec: { host: db, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: db, namespace: demo }
spec:
  hosts: [db]
  tcp:
    - route:
        - { destination: { host: db, subset: v1 }, weight: 1 }
        - { destination: { host: db, subset: v2 }, weight: 1 }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: demo }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: db, namespace: demo }
spec: { rules: [{ from: [{ source: { principals: [cluster.local/ns/demo/sa/${allowed}] } }] }] }
`;
}

/** Opaque ports through Envoys and between them and our SDK: CONNECT, weights, mutual TLS, authorization by the peer, and nothing else. */
export function connectionsRow(protocol: Protocol): Capability {
  return {
    name: "connections: CONNECT, weights, mutual TLS, authorization",
    limitMs: 90_000,
    run: (context) => outcomeOf(() => run(context, protocol)),
  };
}

async function run(context: Context, protocol: Protocol): Promise<string> {
  const nodes = nodesOf(context);
  const proxy: Joiner = { ...nodes.caller, workload: "caller-proxy", address: context.addresses.at(37) };
  const [port1 = 0] = await freePorts(1, nodes.v1.address);
  const [port2 = 0] = await freePorts(1, nodes.v2.address);
  const places: Places = {
    v1: { address: nodes.v1.address, port: port1 },
    v2: { address: nodes.v2.address, port: port2 },
  };
  return withPlane(context, yaml(places, "caller"), [], async (plane) => {
    await startSdk(plane, "tcp-peer.ts", nodes.v1, "server", "v1", `${nodes.v1.address}:${port1}`);
    await startApplication(context, plane, port2);
    const free = async ({ address }: Joiner): Promise<string> => `${address}:${(await freePorts(1, address))[0]}`;
    const v2 = await startEnvoy(context, plane, nodes.v2, protocol, await free(nodes.v2));
    const outbound = await free(proxy);
    const caller = await startEnvoy(context, plane, proxy, protocol, outbound);
    const sdk = await startSdk(plane, "tcp-peer.ts", nodes.caller, "client", `${host}:${port}`, String(calls));

    const through = (): Promise<string> => tunnel(outbound, `${host}:${port}`).then(exchange);
    const fromEnvoy = await roundUntil(context, "both versions through Envoy", through, isServed);
    const fromSdk = await roundOf(context, sdk, "both versions from the SDK", isServed);
    for (const [what, refused] of [
      ["a request to a port of connections", () => ask(outbound, `http://${host}:${port}/`)],
      ["CONNECT to a port of requests", () => tunnel(outbound, "web.demo.svc.cluster.local:80")],
      ["CONNECT to a host that nobody knows", () => tunnel(outbound, "unknown.example.com:443")],
    ] as const) {
      const answer = await refused().then(() => "was served", String);
      if (!answer.endsWith(" 404")) throw new Error(`${what}: ${answer}`);
    }
    const plaintext = await exchange(connect({ host: nodes.v2.address, port: port2 })).then(
      () => true,
      () => false,
    );
    if (plaintext) throw new Error("a caller in plaintext was served, and the mode is STRICT");

    plane.write(yaml(places, "nobody"));
    const none = (round: Round): boolean => Object.keys(round.say).length === 0;
    await roundUntil(context, "nobody is let in through Envoy", through, none);
    await roundOf(context, sdk, "nobody is let in from the SDK", none);
    noneRefused(plane);
    await Promise.all([v2.updates(), caller.updates()]);
    return `Envoy → SDK : Envoy ${shares(fromEnvoy)}; SDK → SDK : Envoy ${shares(fromSdk)}; then nobody`;
  });
}

/** v2 knows nothing of the mesh, and so not who connects. */
function isServed({ say, errors }: Round): boolean {
  const [v1 = 0, v2 = 0] = counts(say);
  return Object.keys(errors).length === 0 && v1 + v2 === calls && v1 > 0 && v2 > 0;
}

function shares({ say }: Round): string {
  return counts(say).join(" : ");
}

function counts(say: Round["say"]): readonly number[] {
  return [say[`v1 ${callerId}`] ?? 0, say["v2"] ?? 0];
}

async function roundUntil(
  context: Context,
  what: string,
  call: () => Promise<string>,
  wanted: (round: Round) => boolean,
): Promise<Round> {
  let last: Round | undefined;
  try {
    return await until(context, what, async () => {
      last = await oneRound(calls, call);
      return wanted(last) ? last : undefined;
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}; last: ${JSON.stringify(last)}`, { cause: error });
  }
}

/** As an application does that has `HTTPS_PROXY` set; rejects with the status of an answer that is not 200. */
function tunnel(outbound: string, target: string): Promise<Socket> {
  const [address, number] = outbound.split(":");
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: address, port: number, method: "CONNECT", path: target });
    outgoing.on("connect", ({ statusCode }, socket) => {
      if (statusCode === 200) return resolve(socket as Socket);
      socket.destroy();
      reject(new Error(`answered ${statusCode}`));
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

function ask(outbound: string, url: string): Promise<void> {
  const [address, number] = outbound.split(":");
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: address, port: number, path: url, headers: { host: new URL(url).host } });
    outgoing.on("response", (response) => {
      response.resume();
      if (response.statusCode === 200) resolve();
      else reject(new Error(`answered ${response.statusCode}`));
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

async function startApplication(context: Context, plane: Plane, number: number): Promise<void> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket.on("close", () => open.delete(socket)).on("error", () => {}));
    socket.once("data", () => socket.end("v2\n"));
  });
  await new Promise<void>((resolve) => server.listen(number, applicationAddress(context), resolve));
  plane.defer(async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
}
