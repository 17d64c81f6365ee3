import {
  type ClientOptions,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  type Call,
  createEngine,
  createMetrics,
  type Engine,
  type MeshConfig,
  type MeshMetrics,
  type RetryPolicy,
  type Transport,
} from "@trama/engine";
import type { IdentitySource } from "@trama/xds";

import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { MeshChannel } from "../src/adapters/grpc-channel.ts";
import type { GrpcClient } from "../src/adapters/grpc-core.ts";
import { HostLookup } from "../src/adapters/host-lookup.ts";
import { internals } from "../src/internals.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import { H2Transport } from "../src/transport/h2.ts";

/** Messages are text; the four kinds of method. */
const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};

export const reviews = {
  Get: { path: "/shop.Reviews/Get", requestStream: false, responseStream: false, ...text },
  List: { path: "/shop.Reviews/List", requestStream: false, responseStream: true, ...text },
  Add: { path: "/shop.Reviews/Add", requestStream: true, responseStream: false, ...text },
  Chat: { path: "/shop.Reviews/Chat", requestStream: true, responseStream: true, ...text },
} satisfies ServiceDefinition;

export type ReviewsClient = InstanceType<typeof ReviewsClient>;
export const ReviewsClient = makeGenericClientConstructor(reviews, "Reviews");

export type Unary = ServerUnaryCall<string, string>;
export type Done = sendUnaryData<string>;
export type Get = (
  request: string,
  metadata: Metadata,
  options: object,
  done: (error: ServiceError | null, answer: string) => void,
) => { cancel(): void };

/** A unary call. */
export function get(
  from: ReviewsClient,
  request = "x",
  options: object = {},
  metadata: Metadata = new Metadata(),
): Promise<string> {
  return new Promise((resolve, reject) => {
    (from["Get"] as Get).call(from, request, metadata, options, (error, answer) =>
      error === null ? resolve(answer) : reject(error),
    );
  });
}

/** Handlers that never answer. */
export const none: UntypedServiceImplementation = { Get: () => {}, List: () => {}, Add: () => {}, Chat: () => {} };

/** `reviews:9090` at these addresses, an equal share each, retried as asked. */
export function reviewsAt(addresses: string | readonly string[], retry?: Partial<RetryPolicy>): MeshConfig {
  const endpoints = [addresses].flat().map((address) => endpoint(address));
  const policy =
    retry === undefined
      ? undefined
      : retryPolicy({ retryOn: ["unavailable"], retries: 3, backoffBaseMs: 1, backoffMaxMs: 2, ...retry });
  return meshConfig({
    outbound: [listener("reviews:9090", [route(forward("c", { retry: policy }))])],
    clusters: [cluster("c", { endpoints, balancer: { kind: "round_robin" }, connectTimeoutMs: 2_000 })],
  });
}

/** A plain grpc-js server on loopback, without any mesh. */
export async function plainServer(
  implementation: UntypedServiceImplementation,
  creds: ServerCredentials = ServerCredentials.createInsecure(),
): Promise<{ readonly server: Server; readonly address: string; close(): void }> {
  const server = new Server();
  server.addService(reviews, { ...none, ...implementation });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", creds, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  return { server, address: `127.0.0.1:${port}`, close: () => server.forceShutdown() };
}

/** The client half of a mesh without a control plane: whatever a test publishes is in force. */
export interface GrpcWorld {
  readonly engine: Engine;
  readonly client: GrpcClient;
  readonly transport: Transport & H2Transport;
  /** Calls as telemetry was told of them. */
  readonly ended: Call[];
  readonly metrics: MeshMetrics;
  /** What the control plane says of a host that is not in the configuration. */
  answer: (listener: string) => Promise<"found" | "missing">;
  /** Hosts that it was asked for. */
  readonly asked: string[];
  /** As applications have it; for the client's side only. */
  readonly mesh: Mesh;
  options(options?: ClientOptions): ClientOptions;
  connect(target?: string, options?: ClientOptions): ReviewsClient;
  close(): Promise<void>;
}

export function grpcWorld(
  config: MeshConfig,
  identity?: Pick<IdentitySource, "current">,
  policy: "ALLOW_ANY" | "REGISTRY_ONLY" = "ALLOW_ANY",
): GrpcWorld {
  const clock = createClock();
  const ended: Call[] = [];
  const metrics = createMetrics(
    {
      workload: "web-v1",
      namespace: "shop",
      app: "web",
      version: "v1",
      canonicalService: "web",
      canonicalRevision: "v1",
      cluster: "test",
      principal: "",
    },
    { maxOperations: 10 },
  );
  const asked: string[] = [];
  const clients: ReviewsClient[] = [];
  const engine = createEngine(
    {
      clock,
      random: seededRandom(1),
      telemetry: {
        onOpen: (call) => metrics.onOpen(call),
        onCall(call) {
          metrics.onCall(call);
          ended.push(call);
        },
      },
      log: { debug() {}, info() {}, warn() {}, error() {} },
      regex: compileRegex,
    },
    config,
  );
  const transport = new H2Transport({
    identity: identity ?? { current: undefined },
    clock,
    random: seededRandom(2),
    peer: "web;shop;web;v1;test",
  });
  const outbound = (name: string): Promise<"found" | "missing"> => {
    asked.push(name);
    return world.answer(name);
  };
  const client: GrpcClient = {
    engine,
    transport,
    lookup: new HostLookup({ engine, discovery: { outbound } }),
    clock,
    random: seededRandom(3),
    outboundTrafficPolicy: policy,
    closed: false,
  };
  const mesh = {} as Mesh;
  internals.set(mesh, {
    ...client,
    identity: undefined as never,
    dispatcher: undefined as never,
    discovery: { outbound, inbound: () => Promise.resolve("missing") },
    http2: transport,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    open: true,
    ready: true,
    changed() {},
    onChange() {},
    guard: () => () => {},
    guardOf: () => undefined,
    onClose() {},
  });
  const world: GrpcWorld = {
    mesh,
    engine,
    client,
    transport,
    ended,
    metrics,
    asked,
    answer: () => Promise.resolve("missing"),
    options: (options = {}) => ({
      ...options,
      channelFactoryOverride: (target, creds, rest) => new MeshChannel(client, target, creds, rest),
    }),
    connect(target = "reviews:9090", options = {}) {
      const made = new ReviewsClient(target, credentials.createInsecure(), world.options(options));
      clients.push(made);
      return made;
    },
    async close() {
      for (const each of clients) each.close();
      await transport.close(500);
      clock.close();
    },
  };
  return world;
}
