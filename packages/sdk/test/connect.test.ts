import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import type { ClusterConfig, MeshConfig, RbacConfig } from "@trama/engine";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { fakeClock } from "../../../test/kit/clock.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import {
  cluster,
  endpoint,
  forward,
  meshConfig,
  outlier,
  retryPolicy,
  route,
  virtualHost,
} from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { peerOf } from "../src/adapters/tcp.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";
import { type ServerWorld, serverWorld } from "./server-world.ts";

// Connections to opaque ports: led by server name, over mutual TLS, to drivers' own servers.

const root = makeCertificate("root");
const web = testIdentity(root, "shop", "web");
const db = testIdentity(root, "shop", "db");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** A server that says who it is, then repeats what it hears. */
async function plainServer(greeting: string): Promise<string> {
  const server = createServer((socket) => {
    socket.write(greeting);
    socket.pipe(socket);
    socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function unusedAddress(): Promise<string> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `127.0.0.1:${port}`;
}

/** One opaque port whose server names lead to clusters; `*` is the rest. */
function opaque(listener: string, names: Record<string, ClusterConfig>): MeshConfig {
  const hosts = Object.entries(names).map(([domain, { name }]) =>
    virtualHost([route(forward(name, { retry: connectRetry, idleTimeoutMs: 60_000 }))], { domains: [domain] }),
  );
  return meshConfig({
    outbound: [{ name: listener, filters: [], opaque: true, routes: { name: listener, virtualHosts: hosts } }],
    clusters: Object.values(names),
  });
}

const connectRetry = retryPolicy({ retryOn: ["connect-failure"], avoidPreviousHosts: true });

function client(
  config: MeshConfig,
  ...rest: [Parameters<typeof clientWorld>[1]?, Parameters<typeof clientWorld>[2]?, Parameters<typeof clientWorld>[3]?]
): ClientWorld {
  const world = clientWorld(config, ...rest);
  closers.push(() => world.close());
  return world;
}

async function protectedServer(server: Server, identity = db): Promise<ServerWorld> {
  const world = await serverWorld(server, { identity });
  closers.push(() => world.close());
  return world;
}

async function greeting(socket: Socket): Promise<string> {
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString();
}

test("a connection goes where its server name leads, and the socket is the application's", async () => {
  const [one, two, rest] = await Promise.all([plainServer("one"), plainServer("two"), plainServer("rest")]);
  const world = client(
    opaque("db.shop:5432", {
      "one.example.com": cluster("one", { endpoints: [endpoint(one)] }),
      "*.example.com": cluster("two", { endpoints: [endpoint(two)] }),
      "*": cluster("rest", { endpoints: [endpoint(rest)] }),
    }),
  );
  const { connector } = world.dispatcher;
  const to = async (servername?: string): Promise<string> => {
    const socket = await connector.connect({ host: "DB.shop.", port: 5432, servername });
    const heard = await greeting(socket);
    socket.destroy();
    await once(socket, "close");
    return heard;
  };
  expect(await to("one.example.com")).toBe("one");
  expect(await to("ONE.example.com")).toBe("one");
  expect(await to("other.example.com")).toBe("two");
  expect(await to()).toBe("rest");
  expect(await to("")).toBe("rest");
  expect(world.ended.map(({ protocol, record }) => [protocol, record.cluster?.name, record.flag])).toEqual([
    ["tcp", "one", "-"],
    ["tcp", "one", "-"],
    ["tcp", "two", "-"],
    ["tcp", "rest", "-"],
    ["tcp", "rest", "-"],
  ]);
});

test("without a rule for it there is no connection", async () => {
  const address = await plainServer("one");
  const world = client(opaque("db:5432", { "one.example.com": cluster("one", { endpoints: [endpoint(address)] }) }));
  await expect(world.dispatcher.connector.connect({ host: "db", port: 5432 })).rejects.toMatchObject({
    code: "NO_ROUTE",
    message: 'no rule of "db:5432" takes a connection for the server name "db"',
  });
});

test("an endpoint that is down is passed by, and counts against it", async () => {
  const [up, down] = await Promise.all([plainServer("up"), unusedAddress()]);
  const world = client(
    opaque("db:5432", {
      "*": cluster("db", {
        endpoints: [endpoint(down), endpoint(up)],
        outlier: outlier({ consecutive5xx: 1, maxEjectionPercent: 100 }),
      }),
    }),
  );
  for (let round = 0; round < 8; round++) {
    const socket = await world.dispatcher.connector.connect({ host: "db", port: 5432 });
    expect(await greeting(socket)).toBe("up");
    socket.destroy();
    await once(socket, "close");
  }
  // Once it had failed it was ejected.
  expect(world.ended.reduce((sum, { record }) => sum + record.attempts, 0)).toBe(9);
});

test("mutual TLS end to end, authorization by the peer, and both ends know each other", async () => {
  const peers: (string | undefined)[] = [];
  const server = createServer((socket) => {
    peers.push(peerOf(socket)?.spiffeId);
    socket.write("hello");
    socket.pipe(socket);
  });
  const served = await protectedServer(server);
  served.publish("STRICT", [connectionsFrom(spiffe("shop", "web"))]);
  const config = (name: string): MeshConfig =>
    opaque("db:5432", {
      "*": cluster("db", { endpoints: [endpoint(served.address)], tls: mutualTls(spiffe("shop", name)) }),
    });
  const world = client(config("db"), web);
  const socket = await world.dispatcher.connector.connect({ host: "db", port: 5432 });
  expect(await greeting(socket)).toBe("hello");
  socket.write("abc");
  expect(await greeting(socket)).toBe("abc");
  expect(peers).toEqual([spiffe("shop", "web")]);
  expect(served.guard.listener.connections.size).toBe(1);
  socket.end();
  await once(socket, "close");
  await until(() => served.ended.length === 1);
  const [ours, theirs] = [world.ended[0]!, served.ended[0]!];
  expect([ours.record.mtls, ours.record.peerPrincipal]).toEqual([true, spiffe("shop", "db")]);
  expect([theirs.record.mtls, theirs.record.peerPrincipal]).toEqual([true, spiffe("shop", "web")]);
  expect(ours.body.traffic?.()).toEqual({ request: 3, response: 8 });
  expect(theirs.body.traffic?.()).toEqual({ request: 3, response: 8 });

  // Another account's certificate at the server is nobody that was meant.
  world.engine.publish(config("mongo"));
  await expect(world.dispatcher.connector.connect({ host: "db", port: 5432 })).rejects.toMatchObject({
    code: "TLS_FAILED",
  });
  expect(peers).toHaveLength(1);
});

test("who may not come in gets no byte, and a connection ends with the permission that it was made under", async () => {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    socket.on("error", () => {});
    socket.write("hello");
  });
  const served = await protectedServer(server);
  const world = client(
    opaque("db:5432", {
      "*": cluster("db", { endpoints: [endpoint(served.address)], tls: mutualTls(spiffe("shop", "db")) }),
    }),
    web,
  );
  served.publish("STRICT", [connectionsFrom(spiffe("shop", "admin"))]);
  const refused = await world.dispatcher.connector.connect({ host: "db", port: 5432 });
  expect(await text(refused)).toBe("");
  expect(accepted).toBe(0);

  served.publish("STRICT", [connectionsFrom(spiffe("shop", "web"))]);
  const socket = await world.dispatcher.connector.connect({ host: "db", port: 5432 });
  expect(await greeting(socket)).toBe("hello");
  served.publish("STRICT", [connectionsFrom(spiffe("shop", "admin"))]);
  await once(socket, "close");

  served.publish("STRICT");
  const plain = client(opaque("db:5432", { "*": cluster("db", { endpoints: [endpoint(served.address)] }) }));
  const cut = await plain.dispatcher.connector.connect({ host: "db", port: 5432 });
  cut.write("hello?");
  expect(await text(cut).catch(() => "")).toBe("");
  expect(accepted).toBe(1);
});

test("a server that speaks first is heard by peers that wait for it: at once where nothing is TLS, else after five seconds", async () => {
  const clock = fakeClock();
  const server = createServer((socket) => void socket.end("220 mail"));
  const served = await serverWorld(server, { identity: db, clock });
  closers.push(() => served.close());
  const world = client(opaque("mail:25", { "*": cluster("mail", { endpoints: [endpoint(served.address)] }) }));
  served.publish("DISABLE");
  expect(await text(await world.dispatcher.connector.connect({ host: "mail", port: 25 }))).toBe("220 mail");
  served.publish("PERMISSIVE");
  const timers = clock.pending;
  const socket = await world.dispatcher.connector.connect({ host: "mail", port: 25 });
  const heard = text(socket);
  await until(() => clock.pending > timers);
  clock.advance(5_000);
  expect(await heard).toBe("220 mail");
});

test("a port of requests is not served as one of connections, nor the other way round", async () => {
  const server = createServer((socket) => void socket.end("hello"));
  const served = await protectedServer(server);
  const { inboundConfig } = await import("./server-world.ts");
  served.engine.publish(meshConfig({ inbound: [inboundConfig(served.address, "DISABLE", [])] }));
  const world = client(
    meshConfig({
      outbound: [
        { name: "db:80", filters: [], routes: { name: "db", virtualHosts: [virtualHost([route(forward("db"))])] } },
        ...opaque("raw:80", { "*": cluster("db", { endpoints: [endpoint(served.address)] }) }).outbound.values(),
      ],
      clusters: [cluster("db", { endpoints: [endpoint(served.address)] })],
    }),
  );
  await expect(world.dispatcher.connector.connect({ host: "db", port: 80 })).rejects.toMatchObject({
    code: "NO_ROUTE",
  });
  const socket = await world.dispatcher.connector.connect({ host: "raw", port: 80 });
  expect(await text(socket)).toBe("");
});

test("hosts that the mesh does not know are connected to as they are, or refused", async () => {
  const address = await plainServer("outside");
  const port = Number(address.split(":")[1]);
  const open = client(meshConfig({}));
  const socket = await open.dispatcher.connector.connect({ host: "127.0.0.1", port });
  expect(await greeting(socket)).toBe("outside");
  // It ends with the mesh at the latest.
  await open.dispatcher.destroy();
  expect(socket.destroyed).toBe(true);
  expect(open.ended.map(({ record }) => [record.cluster?.name, record.flag])).toEqual([["PassthroughCluster", "LR"]]);
  await expect(open.dispatcher.connector.connect({ host: "127.0.0.1", port })).rejects.toMatchObject({
    code: "CLOSED",
  });

  // As a Sidecar has it that refuses the unknown.
  const routes = {
    name: "block_all",
    virtualHosts: [virtualHost([route({ kind: "direct", status: 502, body: undefined })])],
  };
  const blocked = client(meshConfig({ outbound: [{ name: "stranger.example:80", filters: [], routes }] }));
  await expect(blocked.dispatcher.connector.connect({ host: "stranger.example", port: 80 })).rejects.toMatchObject({
    code: "BLOCKED",
  });

  const closed = client(meshConfig({}), undefined, "REGISTRY_ONLY");
  await expect(closed.dispatcher.connector.connect({ host: "stranger.example", port })).rejects.toMatchObject({
    code: "BLOCKED",
  });
});

test("who gives up while the other end says nothing leaves no connection behind, nor does a mesh that is closed", async () => {
  let [begun, ended] = [0, 0];
  const silent = createServer((socket) => {
    begun++;
    socket.on("error", () => {});
    socket.on("close", () => ended++);
    // No word of a handshake.
    socket.resume();
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  closers.push(() => silent.close());
  const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const tls = mutualTls(spiffe("shop", "db"));
  // A clock that stands still: no time-out helps.
  const clock = fakeClock();
  const world = client(
    opaque("db:5432", { "*": cluster("db", { endpoints: [endpoint(address)], tls }) }),
    web,
    "ALLOW_ANY",
    clock,
  );
  const controller = new AbortController();
  const given = world.dispatcher.connector.connect({ host: "db", port: 5432, signal: controller.signal });
  await until(() => begun === 1);
  controller.abort(new Error("not any more"));
  await expect(given).rejects.toThrow("not any more");
  await until(() => ended === 1);
  const cut = expect(world.dispatcher.connector.connect({ host: "db", port: 5432 })).rejects.toMatchObject({
    code: "CLOSED",
  });
  await until(() => begun === 2);
  const closed = world.transport.tcp.close();
  clock.advance(1);
  await Promise.all([closed, cut]);
  await until(() => ended === 2);
});

test("silence, limits and the caller's own end", async () => {
  const clock = fakeClock();
  const address = await plainServer("x");
  const world = client(
    opaque("db:5432", { "*": cluster("db", { endpoints: [endpoint(address)], breaker: { maxConnections: 1 } }) }),
    undefined,
    "ALLOW_ANY",
    clock,
  );
  const { connector } = world.dispatcher;
  const socket = await connector.connect({ host: "db", port: 5432 });
  await greeting(socket);
  await expect(connector.connect({ host: "db", port: 5432 })).rejects.toMatchObject({ code: "OVERFLOW" });
  // What moved before the clock was asked counts as movement.
  clock.advance(60_000);
  expect(socket.destroyed).toBe(false);
  const failed = once(socket, "error");
  clock.advance(60_000);
  expect((await failed)[0]).toMatchObject({ code: "IDLE_TIMEOUT" });
  await until(() => world.ended.length === 2);

  const controller = new AbortController();
  controller.abort(new Error("not any more"));
  await expect(connector.connect({ host: "db", port: 5432, signal: controller.signal })).rejects.toThrow(
    "not any more",
  );
  await expect(connector.connect({ host: "", port: 5432 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(connector.connect({ host: "db", port: 0 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
});

/** ALLOW for the connections of one principal. */
function connectionsFrom(principal: string): RbacConfig {
  return {
    kind: "rbac",
    rules: {
      action: "allow",
      policies: [
        {
          name: "shop-allow-0",
          permissions: [{ kind: "any" }],
          principals: [{ kind: "authenticated", match: { kind: "exact", value: principal, ignoreCase: false } }],
        },
      ],
    },
  };
}

test("a connection whose peer's certificate has ended is cut with the next change", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("hello");
  });
  const clock = fakeClock();
  const served = await serverWorld(server, { identity: db, clock });
  closers.push(() => served.close());
  served.publish("STRICT");
  const world = client(
    opaque("db:5432", {
      "*": cluster("db", { endpoints: [endpoint(served.address)], tls: mutualTls(spiffe("shop", "db")) }),
    }),
    web,
  );
  const socket = await world.dispatcher.connector.connect({ host: "db", port: 5432 });
  expect(await greeting(socket)).toBe("hello");
  clock.setWall(web.current.notAfterMs + 1_000);
  expect(served.guard.listener.connections.size).toBe(1);
  const closed = once(socket, "close");
  served.publish("STRICT");
  await closed;
});
