import http from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { Server, ServerCredentials, type ServerOptions, type UntypedServiceImplementation } from "@grpc/grpc-js";
import {
  type Call,
  createEngine,
  createMetrics,
  type Engine,
  type FilterConfig,
  type MeshConfig,
  type MeshMetrics,
} from "@trama/engine";

import type { TestIdentity } from "../../../test/kit/identity.ts";
import { chain, inboundListener, meshConfig } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { protectGrpc } from "../src/adapters/grpc-server.ts";
import { ProtectedServer } from "../src/adapters/http-server.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import { type GuardedServer, internals } from "../src/internals.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { H2Transport } from "../src/transport/h2.ts";
import { reviews } from "./grpc-world.ts";

/** The server half of a mesh without a control plane, for gRPC and, where asked for, HTTP on the same port. */
export interface GrpcServerWorld {
  readonly engine: Engine;
  readonly server: Server;
  readonly ended: Call[];
  readonly metrics: MeshMetrics;
  readonly address: string;
  readonly port: number;
  readonly guards: ReadonlySet<GuardedServer>;
  publish(mode: "STRICT" | "PERMISSIVE" | "DISABLE", filters?: readonly FilterConfig["config"][]): void;
  readonly mesh: Mesh;
  /** As the mesh would be while it waits for its configuration, and from the moment it is closed. */
  become(state: "starting" | "ready" | "draining"): void;
  stop(deadlineMs: number, lingerMs?: number): Promise<void>;
  close(): Promise<void>;
}

export async function grpcServerWorld(
  implementation: UntypedServiceImplementation,
  identity: TestIdentity,
  options: { readonly http?: http.RequestListener; readonly grpc?: ServerOptions } = {},
): Promise<GrpcServerWorld> {
  const clock = createClock();
  const ended: Call[] = [];
  const metrics = createMetrics(
    {
      workload: "reviews-v1",
      namespace: "shop",
      app: "reviews",
      version: "v1",
      canonicalService: "reviews",
      canonicalRevision: "v1",
      cluster: "test",
      principal: "",
    },
    { maxOperations: 10 },
  );
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const engine = createEngine({
    clock,
    random: seededRandom(1),
    telemetry: {
      onOpen: (call) => metrics.onOpen(call),
      onCall(call) {
        metrics.onCall(call);
        ended.push(call);
      },
    },
    log,
    regex: compileRegex,
  });
  const guards = new Set<GuardedServer>();
  const discovery = {
    inbound: () => Promise.resolve("found" as const),
    outbound: () => Promise.resolve("missing" as const),
  };
  const http2 = new H2Transport({ identity, clock, random: seededRandom(3) });
  const shared = { engine, identity, discovery, http2, clock, log };
  const httpServer = options.http === undefined ? undefined : http.createServer(options.http);
  const httpGuard = httpServer === undefined ? undefined : new ProtectedServer(httpServer, shared);
  if (httpGuard !== undefined) guards.add(httpGuard);
  const mesh = {} as Mesh;
  let state: "starting" | "ready" | "draining" = "ready";
  const changes: (() => void)[] = [];
  internals.set(mesh, {
    ...shared,
    dispatcher: undefined as never,
    random: seededRandom(2),
    outboundTrafficPolicy: "ALLOW_ANY",
    get open() {
      return state !== "draining";
    },
    get ready() {
      return state === "ready";
    },
    changed() {},
    onChange: (changed) => void changes.push(changed),
    guard(server) {
      guards.add(server);
      return () => guards.delete(server);
    },
    guardOf: () => httpGuard,
    onClose() {},
  });
  const server = protectGrpc(mesh, new Server(options.grpc), { http: httpServer });
  server.addService(reviews, implementation);
  let port: number;
  if (httpServer !== undefined) {
    httpServer.listen(0, "127.0.0.1");
    await once(httpServer, "listening");
    ({ port } = httpServer.address() as AddressInfo);
  } else
    port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
  const address = `127.0.0.1:${port}`;
  const become = (next: typeof state): void => {
    state = next;
    for (const changed of changes) changed();
  };
  const put = (config: MeshConfig): void => {
    engine.publish(config);
    for (const guard of guards) guard.listener.refresh();
  };
  const stop = async (deadlineMs: number, lingerMs = 0): Promise<void> => {
    await Promise.all([...guards].map((guard) => guard.stop(deadlineMs, lingerMs)));
  };
  return {
    engine,
    server,
    ended,
    metrics,
    address,
    port,
    guards,
    publish(mode, kinds = []) {
      const filters = kinds.map((config, at) => ({ name: `filter-${at}`, config, disabled: false }));
      const { match } = chain("");
      const secured = chain("inbound-mtls", {
        match: { ...match, transportProtocol: "tls" },
        tls: { identity: "default", trust: "ROOTCA", requireClientCertificate: true, subjectNames: [] },
        filters,
      });
      const plaintext = chain("inbound-plaintext", { match: { ...match, transportProtocol: "raw_buffer" }, filters });
      const chains = mode === "STRICT" ? [secured] : mode === "DISABLE" ? [plaintext] : [secured, plaintext];
      put(meshConfig({ inbound: [inboundListener(address, { chains })] }));
    },
    mesh,
    become,
    stop,
    async close() {
      await stop(200);
      server.forceShutdown();
      clock.close();
    },
  };
}
