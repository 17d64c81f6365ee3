import { once } from "node:events";
import {
  type ClientDuplexStream,
  credentials,
  InterceptingCall,
  Metadata,
  type ServerDuplexStream,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, listener, meshConfig, route, forward } from "../../../test/kit/mesh-config.ts";
import {
  type Done,
  get,
  type Get,
  grpcWorld,
  type GrpcWorld,
  plainServer,
  reviewsAt as to,
  type Unary,
} from "./grpc-world.ts";
import type { MeshConfig } from "@trama/engine";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function backend(implementation: UntypedServiceImplementation): Promise<string> {
  const made = await plainServer(implementation);
  closers.push(() => made.close());
  return made.address;
}

function world(config: MeshConfig, policy: "ALLOW_ANY" | "REGISTRY_ONLY" = "ALLOW_ANY"): GrpcWorld {
  const made = grpcWorld(config, undefined, policy);
  closers.push(() => made.close());
  return made;
}

describe("hosts", () => {
  test.each(["reviews:9090", "dns:///reviews:9090", "xds:///reviews:9090", "REVIEWS:9090"])(
    "%s is asked for once, while its calls wait",
    async (target) => {
      const address = await backend({ Get: (_call: Unary, done: Done) => done(null, "found") });
      const mesh = world(meshConfig({}));
      mesh.answer = async () => {
        mesh.engine.publish(to(address));
        return "found";
      };
      const client = mesh.connect(target);
      expect(await Promise.all([get(client), get(client)])).toEqual(["found", "found"]);
      expect(mesh.asked).toEqual(["reviews:9090"]);
    },
  );

  test("one whose port is opaque is refused, and the caller is told how to declare it", async () => {
    const opaque = meshConfig({ outbound: [{ ...listener("reviews:9090", [route(forward("c"))]), opaque: true }] });
    const refused = expect.objectContaining({
      details: expect.stringContaining("declare it HTTP, HTTP2, GRPC or HTTPS") as unknown,
    }) as unknown;
    await expect(get(world(opaque).connect())).rejects.toEqual(refused);
    const mesh = world(meshConfig({}));
    mesh.answer = async () => {
      mesh.engine.publish(opaque);
      return Promise.resolve("found");
    };
    await expect(get(mesh.connect())).rejects.toEqual(refused);
  });

  test("one that the mesh does not know passes as it is, and is counted", async () => {
    const address = await backend({
      Get: (call: Unary, done: Done) => done(null, `plain ${call.request}`),
      Chat: (call: ServerDuplexStream<string, string>) => {
        call.on("data", (each: string) => call.write(each));
        call.on("end", () => call.end());
      },
    });
    const mesh = world(meshConfig({}));
    const client = mesh.connect(`localhost:${address.split(":")[1]}`);
    expect(await get(client, "y", { deadline: Date.now() + 5_000 })).toBe("plain y");
    expect(mesh.ended[0]!.record).toMatchObject({
      cluster: { name: "PassthroughCluster" },
      grpcStatus: 0,
      requestMessages: 1,
      responseMessages: 1,
    });
    const stream = (client["Chat"] as () => ClientDuplexStream<string, string>).call(client);
    stream.write("a");
    expect(await once(stream, "data")).toEqual(["a"]);
    const ended = Promise.withResolvers<ServiceError>();
    stream.on("error", ended.resolve);
    stream.cancel();
    expect(await ended.promise).toMatchObject({ code: status.CANCELLED });
    expect(await get(client, "z")).toBe("plain z");
  });

  test("one that it does not know is refused under REGISTRY_ONLY, and xds: is the mesh's alone", async () => {
    const mesh = world(meshConfig({}), "REGISTRY_ONLY");
    await expect(get(mesh.connect("unknown:1"))).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      cause: { code: "BLOCKED" },
    });
    const open = world(meshConfig({}));
    await expect(get(open.connect("xds:///unknown:1"))).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      cause: { code: "NO_CONFIG" },
    });
  });

  test("R69: a control plane that cannot be asked is UNAVAILABLE, whatever it said", async () => {
    const mesh = world(meshConfig({}));
    mesh.answer = () => Promise.reject(Object.assign(new Error("no such thing"), { code: "PERMISSION_DENIED" }));
    await expect(get(mesh.connect())).rejects.toMatchObject({ code: status.UNAVAILABLE });
  });

  test("waitForReady waits until the host is there", async () => {
    const address = await backend({ Get: (_call: Unary, done: Done) => done(null, "at last") });
    const mesh = world(
      meshConfig({
        outbound: [listener("reviews:9090", [route(forward("c"))])],
        clusters: [cluster("c", { endpoints: [] })],
      }),
    );
    const metadata = new Metadata({ waitForReady: true });
    const waiting = get(mesh.connect(), "x", { deadline: Date.now() + 4_000 }, metadata);
    await expect.poll(() => mesh.ended.length).toBeGreaterThan(0);
    mesh.engine.publish(to(address));
    expect(await waiting).toBe("at last");
    await expect(get(mesh.connect("xds:///nowhere:1"), "x")).rejects.toMatchObject({ code: status.UNAVAILABLE });
  });

  test("waitForReady of the client", async () => {
    const mesh = world(to(await backend({})));
    await new Promise<void>((resolve, reject) =>
      mesh.connect().waitForReady(Date.now() + 1_000, (error) => (error === undefined ? resolve() : reject(error))),
    );
  });
});

describe("the application's own options", () => {
  test("interceptors stay above the mesh", async () => {
    const mesh = world(
      to(await backend({ Get: (call: Unary, done: Done) => done(null, String(call.metadata.get("added"))) })),
    );
    const client = mesh.connect("reviews:9090", {
      interceptors: [
        (options, next) =>
          new InterceptingCall(next(options), {
            start: (metadata, startListener, proceed) => {
              metadata.set("added", "by an interceptor");
              proceed(metadata, startListener);
            },
          }),
      ],
    });
    expect(await get(client)).toBe("by an interceptor");
  });

  test("compression both ways, credentials of a call, binary metadata", async () => {
    const implementation = {
      Get: (call: Unary, done: Done) => {
        const answer = new Metadata();
        answer.set("bytes-bin", call.metadata.get("bytes-bin")[0] as Buffer);
        call.sendMetadata(answer);
        done(null, `${call.request.length} ${String(call.metadata.get("authorization"))}`);
      },
    };
    const mesh = world(to(await backend(implementation)));
    const client = mesh.connect("reviews:9090", { "grpc.default_compression_algorithm": 2 });
    const metadata = new Metadata();
    metadata.set("bytes-bin", Buffer.from([0, 255, 10]));
    const token = credentials.createFromMetadataGenerator((_options, done) => {
      const extra = new Metadata();
      extra.set("authorization", "Bearer t");
      done(null, extra);
    });
    const heard = Promise.withResolvers<Metadata>();
    const answer = await new Promise((resolve, reject) => {
      const call = (client["Get"] as Get).call(
        client,
        "w".repeat(10_000),
        metadata,
        { credentials: token },
        (error, text) => (error === null ? resolve(text) : reject(error)),
      );
      (call as unknown as { on(event: string, fn: (value: Metadata) => void): void }).on("metadata", heard.resolve);
    });
    expect(answer).toBe("10000 Bearer t");
    expect((await heard.promise).get("bytes-bin")).toEqual([Buffer.from([0, 255, 10])]);
  });

  test("message size limits", async () => {
    const mesh = world(
      to(await backend({ Get: (call: Unary, done: Done) => done(null, "v".repeat(Number(call.request))) })),
    );
    const client = mesh.connect("reviews:9090", {
      "grpc.max_receive_message_length": 1_000,
      "grpc.max_send_message_length": 10,
    });
    expect((await get(client, "1000")).length).toBe(1_000);
    await expect(get(client, "1001")).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    await expect(get(client, "12345678901")).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  });
});
