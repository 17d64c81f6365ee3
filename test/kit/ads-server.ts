import type { EventEmitter } from "node:events";

import type { DescMessage, Message } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import type { Metadata, ServerDuplexStream, StatusObject } from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { aggregatedDiscoveryService, typeUrlOf } from "@trama/proto";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
  Resource,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import {
  DeltaDiscoveryResponseSchema,
  DiscoveryResponseSchema,
  ResourceSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

/** What is served: a message of one of the four types, or bytes of any kind for a client that must refuse them. */
export type Served = Message | { readonly typeUrl: string; readonly name: string; readonly bytes: Uint8Array };

export interface AdsServerOptions {
  /** TLS with this certificate; `rootPem`: client certificates are asked for and checked, but not demanded. */
  readonly tls?: { readonly certPem: string; readonly keyPem: string; readonly rootPem?: string };
  /** Looked at when a stream opens; a status ends it at once. */
  readonly authorize?: (metadata: Metadata) => Partial<StatusObject> | undefined;
  /** Answers come only from the test, by `stream.respond` and `stream.push`. Default: from the resources that are set. */
  readonly manual?: boolean;
  /** The delta method is answered UNIMPLEMENTED, as by servers that are older than it. */
  readonly sotwOnly?: boolean;
  readonly port?: number;
}

/** A NACK as the server saw it. */
export interface Nack {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly message: string;
}

/** One stream of one client, delta or state of the world, kept after its end for the test to look at. */
export interface ServedStream {
  readonly form: "delta" | "sotw";
  readonly metadata: Metadata;
  readonly requests: readonly (DeltaDiscoveryRequest | DiscoveryRequest)[];
  readonly delta: readonly DeltaDiscoveryRequest[];
  readonly nacks: readonly Nack[];
  /** Nonces that were acknowledged. */
  readonly acks: readonly string[];
  readonly ended: boolean;
  /** Names subscribed now. */
  subscribed(typeUrl: string): ReadonlySet<string>;
  /**
   * Sends a response as it is, with a new nonce, which it returns. On a stream of whole states resources go bare, or in their
   * wrapper when they have a time to live, no body or not the type of the response; what is removed is what is not in it.
   */
  respond(response: Partial<Pick<DeltaDiscoveryResponse, "typeUrl" | "resources" | "removedResources">>): string;
  /** Sends what changed of a type, or of all, as the automatic server does. */
  push(typeUrl?: string): void;
  kill(status?: Partial<StatusObject>): void;
}

export interface AdsServer {
  readonly port: number;
  readonly address: string;
  readonly streams: readonly ServedStream[];
  /** The newest stream that has not ended. */
  readonly stream: ServedStream;
  /** Sets resources, all in one step, and pushes to who subscribed. */
  set(...resources: Served[]): void;
  remove(typeUrl: string, ...names: string[]): void;
  /** Wraps a resource for `respond`, with its present version. */
  wrap(resource: Served, version?: string): Resource;
  /** Resolves with what `probe` gives, as soon as it gives something else than undefined and false. */
  until<T>(probe: () => T | undefined | false): Promise<T>;
  /** Ends all streams and stops listening; `restart` listens on the same port again, with the same resources. */
  stop(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** A real ADS server over grpc-js, in memory, on a port of its own. */
export async function startAdsServer(options: AdsServerOptions = {}): Promise<AdsServer> {
  const server = new MemoryServer(options);
  await server.listen(options.port ?? 0);
  return server;
}

interface Stored {
  readonly typeUrl: string;
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly version: string;
}

class MemoryServer implements AdsServer {
  port = 0;
  readonly streams: MemoryStream[] = [];
  readonly options: AdsServerOptions;
  readonly #store = new Map<string, Map<string, Stored>>();
  readonly #probes = new Set<() => void>();
  #server: Server | undefined;
  #version = 0;

  constructor(options: AdsServerOptions) {
    this.options = options;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get stream(): MemoryStream {
    const found = this.streams.findLast((stream) => !stream.ended);
    if (found === undefined) throw new Error("no client is connected");
    return found;
  }

  async listen(port: number): Promise<void> {
    const server = new Server({ "grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1 });
    server.addService(aggregatedDiscoveryService, {
      ...(!this.options.sotwOnly && {
        DeltaAggregatedResources: (call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>) =>
          this.#open(call.metadata, (stream) => (stream.call = call), "delta", call),
      }),
      StreamAggregatedResources: (call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) =>
        this.#open(call.metadata, (stream) => (stream.sotwCall = call), "sotw", call),
    });
    const { tls } = this.options;
    const credentials =
      tls === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(
            tls.rootPem === undefined ? null : Buffer.from(tls.rootPem),
            [{ private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certPem) }],
            false,
          );
    this.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    this.#server = server;
  }

  #open(metadata: Metadata, bind: (stream: MemoryStream) => void, form: "delta" | "sotw", call: EventEmitter): void {
    const stream = new MemoryStream(this, form, metadata);
    bind(stream);
    this.streams.push(stream);
    call.on("data", (request: DeltaDiscoveryRequest | DiscoveryRequest) => {
      stream.receive(request);
      this.changed();
    });
    for (const event of ["end", "cancelled", "error"]) {
      call.on(event, () => {
        if (!stream.ended && event === "end") stream.kill({ code: 0, details: "" });
        stream.ended = true;
        this.changed();
      });
    }
    const refusal = this.options.authorize?.(metadata);
    if (refusal !== undefined) stream.kill(refusal);
    this.changed();
  }

  set(...resources: Served[]): void {
    const version = String(++this.#version);
    const types = new Set<string>();
    for (const resource of resources) {
      const stored = { ...encode(resource), version };
      types.add(stored.typeUrl);
      let table = this.#store.get(stored.typeUrl);
      if (table === undefined) this.#store.set(stored.typeUrl, (table = new Map()));
      table.set(stored.name, stored);
    }
    this.#push(types);
  }

  remove(typeUrl: string, ...names: string[]): void {
    for (const name of names) this.#store.get(typeUrl)?.delete(name);
    this.#push([typeUrl]);
  }

  #push(types: Iterable<string>): void {
    if (this.options.manual) return;
    for (const typeUrl of types) for (const stream of this.streams) if (!stream.ended) stream.push(typeUrl);
  }

  table(typeUrl: string): ReadonlyMap<string, Stored> {
    return this.#store.get(typeUrl) ?? new Map();
  }

  wrap(resource: Served, version = String(this.#version)): Resource {
    return wrapped({ ...encode(resource), version });
  }

  changed(): void {
    for (const probe of this.#probes) probe();
  }

  until<T>(probe: () => T | undefined | false): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        clearInterval(poll);
        this.#probes.delete(check);
      };
      let last: unknown;
      const check = (): void => {
        let found: T | undefined | false;
        try {
          found = probe();
        } catch (error) {
          last = error; // not yet: nobody is connected, say
        }
        if (found === undefined || found === false) return;
        done();
        resolve(found);
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`nothing in 5 s for: ${probe.toString()}`, { cause: last }));
      }, 5_000);
      // The client's side moves without a request too.
      const poll = setInterval(check, 5);
      this.#probes.add(check);
      check();
    });
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const stream of this.streams) if (!stream.ended) stream.ended = true;
    server?.forceShutdown();
    await Promise.resolve();
  }

  restart(): Promise<void> {
    return this.listen(this.port);
  }

  async close(): Promise<void> {
    await this.stop();
    this.#probes.clear();
  }
}

/** The state of one type on one stream. */
interface TypeState {
  readonly names: Set<string>;
  /** Name → version that the client has, as far as we know; `undefined` = told that there is none. */
  readonly known: Map<string, string | undefined>;
}

class MemoryStream implements ServedStream {
  readonly requests: (DeltaDiscoveryRequest | DiscoveryRequest)[] = [];
  readonly nacks: Nack[] = [];
  readonly acks: string[] = [];
  readonly form: "delta" | "sotw";
  readonly metadata: Metadata;
  readonly #server: MemoryServer;
  readonly #types = new Map<string, TypeState>();
  call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;
  sotwCall: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse> | undefined;
  ended = false;
  #nonce = 0;

  constructor(server: MemoryServer, form: "delta" | "sotw", metadata: Metadata) {
    this.#server = server;
    this.form = form;
    this.metadata = metadata;
  }

  get delta(): DeltaDiscoveryRequest[] {
    return this.requests.filter((one) => one.$typeName === "envoy.service.discovery.v3.DeltaDiscoveryRequest");
  }

  subscribed(typeUrl: string): ReadonlySet<string> {
    return this.#state(typeUrl).names;
  }

  #state(typeUrl: string): TypeState {
    let state = this.#types.get(typeUrl);
    if (state === undefined) this.#types.set(typeUrl, (state = { names: new Set(), known: new Map() }));
    return state;
  }

  receive(request: DeltaDiscoveryRequest | DiscoveryRequest): void {
    this.requests.push(request);
    const { typeUrl, responseNonce: nonce, errorDetail } = request;
    if (errorDetail !== undefined) this.nacks.push({ typeUrl, nonce, message: errorDetail.message });
    else if (nonce !== "") this.acks.push(nonce);
    const state = this.#state(typeUrl);
    if (request.$typeName === "envoy.service.discovery.v3.DeltaDiscoveryRequest") {
      for (const [name, version] of Object.entries(request.initialResourceVersions)) state.known.set(name, version);
      for (const name of request.resourceNamesUnsubscribe) {
        state.names.delete(name);
        state.known.delete(name);
      }
      const again = request.resourceNamesSubscribe.filter((name) => state.names.has(name));
      for (const name of again) state.known.delete(name);
      for (const name of request.resourceNamesSubscribe) state.names.add(name);
      const named = request.resourceNamesSubscribe.length > 0;
      if (named && !this.#server.options.manual) this.push(typeUrl);
      return;
    }
    const before = [...state.names].toSorted().join();
    state.names.clear();
    for (const name of request.resourceNames) state.names.add(name);
    if (before !== request.resourceNames.toSorted().join() && !this.#server.options.manual) this.push(typeUrl);
  }

  push(typeUrl?: string): void {
    if (typeUrl === undefined) {
      for (const one of this.#types.keys()) this.push(one);
      return;
    }
    const state = this.#state(typeUrl);
    const table = this.#server.table(typeUrl);
    if (this.form === "sotw") {
      const found = [...state.names].flatMap((name) => table.get(name) ?? []);
      if (found.length > 0 || state.names.size > 0) this.#sendWhole(typeUrl, found.map(wrapped));
      return;
    }
    const resources: Resource[] = [];
    const removedResources: string[] = [];
    for (const name of state.names) {
      const stored = table.get(name);
      if (state.known.has(name) && state.known.get(name) === stored?.version) continue;
      state.known.set(name, stored?.version);
      if (stored === undefined) removedResources.push(name);
      else resources.push(wrapped(stored));
    }
    if (resources.length > 0 || removedResources.length > 0) this.respond({ typeUrl, resources, removedResources });
  }

  respond(response: Partial<Pick<DeltaDiscoveryResponse, "typeUrl" | "resources" | "removedResources">>): string {
    if (this.form === "sotw") return this.#sendWhole(response.typeUrl ?? "", response.resources ?? []);
    const nonce = `n${++this.#nonce}`;
    if (!this.ended) this.call?.write(create(DeltaDiscoveryResponseSchema, { ...response, nonce }));
    return nonce;
  }

  #sendWhole(typeUrl: string, resources: readonly Resource[]): string {
    const nonce = `n${++this.#nonce}`;
    const versionInfo = String(Math.max(0, ...resources.map((one) => Number(one.version))));
    const response = { typeUrl, versionInfo, nonce, resources: resources.map((one) => bare(typeUrl, one)) };
    if (!this.ended) this.sotwCall?.write(create(DiscoveryResponseSchema, response));
    return nonce;
  }

  kill(status: Partial<StatusObject> = { code: 14, details: "killed by the test" }): void {
    this.ended = true;
    const call = this.call ?? this.sotwCall;
    if (status.code === 0) call?.end();
    else call?.emit("error", status);
  }
}

function wrapped({ typeUrl, name, bytes, version }: Stored): Resource {
  return create(ResourceSchema, { name, version, resource: create(AnySchema, { typeUrl, value: bytes }) });
}

function bare(typeUrl: string, resource: Resource): Any {
  const { resource: body, ttl } = resource;
  if (body !== undefined && ttl === undefined && body.typeUrl === typeUrl) return body;
  return create(AnySchema, { typeUrl: typeUrlOf(ResourceSchema), value: toBinary(ResourceSchema, resource) });
}

const schemas: readonly (DescMessage & { readonly typeName: string })[] = [
  ListenerSchema,
  RouteConfigurationSchema,
  ClusterSchema,
  ClusterLoadAssignmentSchema,
];

function encode(resource: Served): Omit<Stored, "version"> {
  if (!("$typeName" in resource)) return resource;
  const schema = schemas.find((one) => one.typeName === resource.$typeName);
  if (schema === undefined) throw new Error(`${resource.$typeName} is not a resource`);
  const { name, clusterName } = resource as { name?: string; clusterName?: string };
  return { typeUrl: typeUrlOf(schema), name: name ?? clusterName ?? "", bytes: toBinary(schema, resource) };
}
