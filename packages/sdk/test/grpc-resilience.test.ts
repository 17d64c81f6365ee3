import { once } from "node:events";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  propagate,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerWritableStream,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { MeshConfig } from "@trama/engine";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { grpcServerWorld } from "./grpc-server-world.ts";
import {
  type Done,
  get,
  type Get,
  type GrpcWorld,
  grpcWorld,
  none,
  plainServer,
  reviewsAt as to,
  type Unary,
} from "./grpc-world.ts";

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

function world(config: MeshConfig): GrpcWorld {
  const made = grpcWorld(config);
  closers.push(() => made.close());
  return made;
}

const unavailable = { code: status.UNAVAILABLE, details: "not now" };

describe("retries", () => {
  test("on a status without a head (trailers-only), until it works", async () => {
    let calls = 0;
    const mesh = world(
      to(
        await backend({ Get: (_call: Unary, done: Done) => (++calls < 3 ? done(unavailable) : done(null, "third")) }),
        {},
      ),
    );
    expect(await get(mesh.connect())).toBe("third");
    expect(mesh.ended[0]!.record).toMatchObject({ attempts: 3, grpcStatus: 0, requestMessages: 1 });
  });

  test("on a status in the trailers, behind a head", async () => {
    let calls = 0;
    const implementation = {
      Get: (call: Unary, done: Done) => {
        call.sendMetadata(new Metadata());
        if (++calls < 3) done(unavailable);
        else done(null, "third");
      },
    };
    const mesh = world(to(await backend(implementation), {}));
    expect(await get(mesh.connect())).toBe("third");
    expect(mesh.ended[0]!.record).toMatchObject({ attempts: 3, grpcStatus: 0 });
  });

  test("a status that the policy does not name, and one too many, reach the caller as they are", async () => {
    let calls = 0;
    const implementation = {
      Get: (call: Unary, done: Done) => {
        calls++;
        const metadata = new Metadata();
        metadata.set("why", "because");
        done({ code: call.request === "x" ? status.UNAVAILABLE : status.ABORTED, details: "ünter way", metadata });
      },
    };
    const mesh = world(to(await backend(implementation), {}));
    await expect(get(mesh.connect())).rejects.toMatchObject({ code: status.UNAVAILABLE, details: "ünter way" });
    expect(calls).toBe(4);
    const error = (await get(mesh.connect(), "other").catch((thrown: unknown) => thrown)) as ServiceError;
    expect(error.code).toBe(status.ABORTED);
    expect(error.metadata.get("why")).toEqual(["because"]);
    expect(calls).toBe(5);
    expect(mesh.ended.map(({ record }) => record.flag)).toEqual(["URX", "-"]);
  });

  test("messages of a stream are sent again, in order, as long as they are kept", async () => {
    let calls = 0;
    const implementation = {
      Add: (call: ServerReadableStream<string, string>, done: Done) => {
        const all: string[] = [];
        call.on("data", (each: string) => all.push(each));
        call.on("end", () => (++calls < 2 ? done(unavailable) : done(null, String(all.join("").length))));
      },
    };
    const mesh = world(to(await backend(implementation), {}));
    const add = (bytes: number): Promise<string> =>
      new Promise((resolve, reject) => {
        const client = mesh.connect();
        const stream = (
          client["Add"] as (done: (error: ServiceError | null, sum: string) => void) => ClientWritableStream<string>
        ).call(client, (error, sum) => (error === null ? resolve(sum) : reject(error)));
        for (let sent = 0; sent < bytes; sent += bytes / 8) stream.write("y".repeat(bytes / 8));
        stream.end();
      });
    expect(await add(512 * 1024)).toBe(String(512 * 1024));
    expect(calls).toBe(2);
    // More than is kept for a retry: one attempt, whose failure the caller sees.
    calls = 0;
    await expect(add(2 * 1024 * 1024)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(calls).toBe(1);
  });

  test("an endpoint that nobody listens at is passed over", async () => {
    const gone = await plainServer(none);
    gone.close();
    const mesh = world(
      to([gone.address, await backend({ Get: (_call: Unary, done: Done) => done(null, "here") })], {
        retryOn: ["connect-failure"],
      }),
    );
    for (let i = 0; i < 4; i++) expect(await get(mesh.connect())).toBe("here");
  });

  test("a stream that its server never looked at is sent again without any policy", async () => {
    const first = await grpcServerWorld(
      { ...none, Get: (_call: Unary, done: Done) => done(null, "served") },
      testIdentity(makeCertificate("root"), "shop", "reviews"),
    );
    closers.push(() => first.close());
    first.publish("DISABLE");
    const mesh = world(to(first.address));
    const client = mesh.connect();
    await get(client);
    // GOAWAY and request cross on the wire, over and over.
    for (let i = 0; i < 20; i++) {
      for (const guard of first.guards) guard.drain();
      expect(await get(client)).toBe("served");
    }
  });
});

test("weights across versions", async () => {
  const [v1, v2] = await Promise.all(
    ["v1", "v2"].map((name) => backend({ Get: (_call: Unary, done: Done) => done(null, name) })),
  );
  const mesh = world(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward({ v1: 80, v2: 20 }))])],
      clusters: [cluster("v1", { endpoints: [endpoint(v1!)] }), cluster("v2", { endpoints: [endpoint(v2!)] })],
    }),
  );
  const client = mesh.connect();
  let second = 0;
  for (let i = 0; i < 500; i++) if ((await get(client)) === "v2") second++;
  // Seeded: 20 % of 500 within four standard deviations.
  expect(Math.abs(second - 100)).toBeLessThan(36);
});

test("routes by method and by metadata", async () => {
  const [one, two] = await Promise.all(
    ["one", "two"].map((name) => backend({ Get: (_call: Unary, done: Done) => done(null, name) })),
  );
  const header = {
    name: "user",
    invert: false,
    missingIsEmpty: false,
    test: { kind: "string", match: { kind: "exact", value: "jason", ignoreCase: false } },
  } as const;
  const mesh = world(
    meshConfig({
      outbound: [
        listener("reviews:9090", [
          route(forward("two"), {
            match: { path: { kind: "exact", value: "/shop.Reviews/Get", ignoreCase: false }, headers: [header] },
          }),
          route(forward("one"), { match: { path: { kind: "prefix", value: "/shop.Reviews/", ignoreCase: false } } }),
        ]),
      ],
      clusters: [cluster("one", { endpoints: [endpoint(one!)] }), cluster("two", { endpoints: [endpoint(two!)] })],
    }),
  );
  const metadata = new Metadata();
  metadata.set("user", "jason");
  expect(await get(mesh.connect())).toBe("one");
  expect(await get(mesh.connect(), "x", {}, metadata)).toBe("two");
  await expect(
    new Promise((resolve, reject) => {
      const id = (bytes: Buffer): Buffer => bytes;
      mesh
        .connect()
        .makeUnaryRequest("/other.Service/Get", id, id, Buffer.from(""), (error: ServiceError | null) =>
          error === null ? resolve(undefined) : reject(error),
        );
    }),
    // R69: the mesh's own word is never NOT_FOUND or UNIMPLEMENTED.
  ).rejects.toMatchObject({ code: status.UNAVAILABLE, cause: { code: "NO_ROUTE" } });
});

describe("deadlines", () => {
  test("travel to the server as what is left of them, and end the call", async () => {
    const mesh = world(
      to(
        await backend({
          Get: (call: Unary, done: Done) =>
            void (call.request === "x" && done(null, String(+call.getDeadline() - Date.now()))),
        }),
      ),
    );
    const left = Number(await get(mesh.connect(), "x", { deadline: Date.now() + 5_000 }));
    expect(left).toBeGreaterThan(3_000);
    expect(left).toBeLessThanOrEqual(5_000);
    await expect(get(mesh.connect(), "silent", { deadline: Date.now() + 50 })).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
    });
    await expect(get(mesh.connect(), "x", { deadline: Date.now() - 1 })).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
    });
  });

  test("R37: the route's limit for streams ends a call that has none of its own", async () => {
    const address = await backend({});
    const mesh = world(
      meshConfig({
        outbound: [listener("reviews:9090", [route(forward("c", { timeoutMs: 1, grpcTimeoutMs: 50 }))])],
        clusters: [cluster("c", { endpoints: [endpoint(address)] })],
      }),
    );
    await expect(get(mesh.connect())).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  test("a call made while serving another inherits its deadline, and none from a neighbour", async () => {
    const root = makeCertificate("root");
    const far = await backend({
      Get: (call: Unary, done: Done) =>
        done(null, String(call.getDeadline() === Infinity ? "none" : +call.getDeadline() - Date.now())),
    });
    const outward = world(to(far));
    const onward = outward.connect();
    const near = await grpcServerWorld(
      {
        ...none,
        Get: (_call: Unary, done: Done) => void setImmediate(() => void get(onward).then(done.bind(undefined, null))),
      },
      testIdentity(root, "shop", "reviews"),
    );
    closers.push(() => near.close());
    near.publish("DISABLE");
    const mesh = world(to(near.address));
    const client = mesh.connect();
    const answers = await Promise.all([
      get(client, "x", { deadline: Date.now() + 8_000 }),
      get(client),
      get(client, "x", { deadline: Date.now() + 2_000 }),
    ]);
    expect(Number(answers[0])).toBeGreaterThan(3_000);
    expect(answers[1]).toBe("none");
    expect(Number(answers[2])).toBeLessThanOrEqual(2_000);
    expect(Number(answers[2])).toBeGreaterThan(0);
  });

  test("a parent call hands on its deadline and its cancellation (grpc-js's `parent`)", async () => {
    const gone = Promise.withResolvers<void>();
    const far = await backend({ Get: (call: Unary) => void call.on("cancelled", () => gone.resolve()) });
    const onward = world(to(far)).connect();
    const near = await backend({
      Get: (call: Unary) =>
        void get(onward, "x", { parent: call, propagate_flags: propagate.DEFAULTS }).catch(() => {}),
    });
    const mesh = world(to(near));
    const client = mesh.connect();
    const call = (client["Get"] as Get).call(client, "x", new Metadata(), {}, () => {});
    await expect.poll(() => mesh.engine.active).toBe(1);
    setTimeout(() => call.cancel(), 50);
    await gone.promise;
  });
});

describe("flow", () => {
  test("a slow reader holds its server back, and gets everything", async () => {
    let written = 0;
    const chunk = "z".repeat(16 * 1024);
    const total = 1_000;
    const implementation = {
      List: (call: ServerWritableStream<string, string>) => {
        const more = (): void => {
          while (written < total) {
            written++;
            if (!call.write(chunk)) return void call.once("drain", more);
          }
          call.end();
        };
        more();
      },
    };
    const mesh = world(to(await backend(implementation)));
    const client = mesh.connect();
    const stream = (client["List"] as (request: string) => ClientReadableStream<string>).call(client, "x");
    await once(stream, "readable");
    let before = -1;
    await expect
      .poll(
        () => {
          const still = written === before;
          before = written;
          return still;
        },
        { interval: 50 },
      )
      .toBe(true);
    // Windows and buffers on the way hold a few hundred kilobytes; 16 MB do not fit.
    expect(written).toBeLessThan(total / 2);
    let read = 0;
    for await (const each of stream) {
      expect((each as string).length).toBe(chunk.length);
      read++;
    }
    expect(read).toBe(total);
  });

  test("a server that does not read holds its client back", async () => {
    const paused = Promise.withResolvers<ServerReadableStream<string, string>>();
    const implementation = {
      Add: (call: ServerReadableStream<string, string>, done: Done) => {
        let seen = 0;
        paused.resolve(call);
        call.pause();
        call.on("data", () => seen++);
        call.pause();
        call.on("end", () => done(null, String(seen)));
      },
    };
    const mesh = world(to(await backend(implementation)));
    const client = mesh.connect();
    const answer = Promise.withResolvers<string>();
    const stream = (
      client["Add"] as (done: (error: ServiceError | null, sum: string) => void) => ClientWritableStream<string>
    ).call(client, (error, sum) => (error === null ? answer.resolve(sum) : answer.reject(error)));
    const call = await paused.promise;
    const chunk = "z".repeat(64 * 1024);
    let sent = 0;
    const write = async (): Promise<void> => {
      for (; sent < 200; sent++) if (!stream.write(chunk)) await once(stream, "drain");
      stream.end();
    };
    const writing = write();
    let before = -1;
    await expect
      .poll(
        () => {
          const still = sent === before;
          before = sent;
          return still;
        },
        { interval: 50 },
      )
      .toBe(true);
    expect(sent).toBeLessThan(100);
    call.resume();
    await writing;
    expect(await answer.promise).toBe("200");
  });

  test("an open stream gets its head although retries are left", async () => {
    const implementation = {
      Chat: (call: ServerDuplexStream<string, string>) => {
        call.sendMetadata(new Metadata());
        call.on("data", (each: string) => call.write(each));
        call.on("end", () => call.end());
      },
    };
    const mesh = world(to(await backend(implementation), {}));
    const client = mesh.connect();
    const stream = (client["Chat"] as () => ClientDuplexStream<string, string>).call(client);
    // It says nothing before it has heard something.
    await once(stream, "metadata");
    stream.write("now");
    expect(await once(stream, "data")).toEqual(["now"]);
    stream.end();
    await once(stream, "status");
  });
});

describe("cancellation", () => {
  test("by the caller: it gets its own reason, the server hears of it", async () => {
    const heard = Promise.withResolvers<void>();
    const mesh = world(to(await backend({ Get: (call: Unary) => void call.on("cancelled", () => heard.resolve()) })));
    const client = mesh.connect();
    const failed = Promise.withResolvers<ServiceError>();
    const call = (client["Get"] as Get).call(client, "x", new Metadata(), {}, (error) => failed.resolve(error!));
    await expect.poll(() => mesh.engine.active).toBe(1);
    call.cancel();
    expect(await failed.promise).toMatchObject({ code: status.CANCELLED, details: "Cancelled on client" });
    await expect.poll(() => mesh.ended.length).toBe(1);
    expect(mesh.ended[0]!.record).toMatchObject({ grpcStatus: 1, flag: "DC" });
  });

  test("before anything is known of the host", async () => {
    const mesh = world(meshConfig({}));
    mesh.answer = () => new Promise(() => {});
    const client = mesh.connect();
    const failed = Promise.withResolvers<ServiceError>();
    const call = (client["Get"] as Get).call(client, "x", new Metadata(), {}, (error) => failed.resolve(error!));
    call.cancel();
    expect(await failed.promise).toMatchObject({ code: status.CANCELLED });
    await expect(get(client, "x", { deadline: Date.now() + 30 })).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
    });
  });
});
