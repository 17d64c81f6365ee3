import { once } from "node:events";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  type GrpcObject,
  InterceptingCall,
  type InterceptorOptions,
  loadPackageDefinition,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  status,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { MeshConfig } from "@trama/engine";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { meshChannel, meshClientOptions } from "../src/adapters/grpc-client.ts";
import { meshInterceptor } from "../src/adapters/grpc-interceptor.ts";
import { type GrpcWorld, grpcWorld, plainServer, reviews, ReviewsClient } from "./grpc-world.ts";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

type Unary = ServerUnaryCall<string, string>;

const service: UntypedServiceImplementation = {
  Get: (call: Unary, done: sendUnaryData<string>) => done(null, `got ${call.request}`),
  List: (call: ServerWritableStream<string, string>) => {
    for (let i = 0; i < Number(call.request); i++) call.write(`item ${i}`);
    call.end();
  },
  Add: (call: ServerReadableStream<string, string>, done: sendUnaryData<string>) => {
    const all: string[] = [];
    call.on("data", (each: string) => all.push(each));
    call.on("end", () => done(null, all.join("+")));
  },
  Chat: (call: ServerDuplexStream<string, string>) => {
    call.on("data", (each: string) => call.write(`echo ${each}`));
    call.on("end", () => call.end());
  },
};

async function backend(implementation: UntypedServiceImplementation = service): Promise<string> {
  const made = await plainServer(implementation);
  closers.push(() => made.close());
  return made.address;
}

function world(config: MeshConfig): GrpcWorld {
  const made = grpcWorld(config);
  closers.push(() => made.close());
  return made;
}

function to(address: string): MeshConfig {
  return meshConfig({
    outbound: [listener("reviews:9090", [route(forward("outbound|9090||reviews"))])],
    clusters: [cluster("outbound|9090||reviews", { endpoints: [endpoint(address)] })],
  });
}

function get(client: ReviewsClient, request = "x", metadata = new Metadata()): Promise<string> {
  return new Promise((resolve, reject) => {
    (client["Get"] as Function)(request, metadata, (error: ServiceError | null, answer: string) =>
      error === null ? resolve(answer) : reject(error),
    );
  });
}

const dynamic = (loadPackageDefinition({ "shop.Reviews": reviews })["shop"] as GrpcObject)[
  "Reviews"
] as unknown as typeof ReviewsClient;
const insecure = credentials.createInsecure();

/** Every way in which an application leads a client into the mesh. */
const ways: Record<string, (mesh: GrpcWorld) => ReviewsClient> = {
  channelFactoryOverride: (mesh) => mesh.connect(),
  "meshClientOptions, a client of loadPackageDefinition": ({ mesh }) =>
    new dynamic("reviews:9090", insecure, meshClientOptions(mesh)),
  "meshChannel as channelOverride": ({ mesh }) =>
    new ReviewsClient("unused:1", insecure, { channelOverride: meshChannel(mesh, "reviews:9090") }),
  "meshInterceptor, last in the application's own list": ({ mesh }) =>
    new ReviewsClient("elsewhere.invalid:1", insecure, {
      interceptors: [
        (options: InterceptorOptions, next: (options: InterceptorOptions) => InterceptingCall) =>
          new InterceptingCall(next(options), {
            start(metadata, listener, proceed) {
              metadata.set("x-from", "the application's own interceptor");
              proceed(metadata, listener);
            },
          }),
        meshInterceptor(mesh, "reviews:9090"),
      ],
    }),
};

describe.each(Object.keys(ways))("%s", (way) => {
  function connect(mesh: GrpcWorld): ReviewsClient {
    const client = ways[way]!(mesh);
    closers.push(() => client.close());
    return client;
  }

  test("a unary call", async () => {
    const mesh = world(to(await backend()));
    expect(await get(connect(mesh))).toBe("got x");
    expect(mesh.ended).toHaveLength(1);
    expect(mesh.ended[0]!.record).toMatchObject({
      grpcStatus: 0,
      status: 200,
      requestMessages: 1,
      responseMessages: 1,
      attempts: 1,
    });
  });

  test("server streaming", async () => {
    const mesh = world(to(await backend()));
    const stream = (connect(mesh)["List"] as Function)("1000") as ClientReadableStream<string>;
    const seen: string[] = [];
    for await (const each of stream) seen.push(each as string);
    expect(seen).toHaveLength(1000);
    expect(seen[999]).toBe("item 999");
    expect(mesh.ended[0]!.record).toMatchObject({ grpcStatus: 0, responseMessages: 1000 });
  });

  test("client streaming", async () => {
    const mesh = world(to(await backend()));
    const answer = await new Promise((resolve, reject) => {
      const stream = (connect(mesh)["Add"] as Function)((error: ServiceError | null, sum: string) =>
        error === null ? resolve(sum) : reject(error),
      ) as ClientWritableStream<string>;
      for (const each of ["a", "b", "c"]) stream.write(each);
      stream.end();
    });
    expect(answer).toBe("a+b+c");
  });

  test("both ways", async () => {
    const mesh = world(to(await backend()));
    const stream = (connect(mesh)["Chat"] as Function)() as ClientDuplexStream<string, string>;
    for (const word of ["one", "two"]) {
      stream.write(word);
      const [echo] = (await once(stream, "data")) as [string];
      expect(echo).toBe(`echo ${word}`);
    }
    stream.end();
    const [end] = (await once(stream, "status")) as [{ code: number }];
    expect(end.code).toBe(status.OK);
  });
});
