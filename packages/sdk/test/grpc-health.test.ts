import {
  type ClientReadableStream,
  credentials,
  makeGenericClientConstructor,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { addHealth } from "../src/adapters/grpc-health.ts";
import { health, readRequest } from "../src/adapters/grpc-health-messages.ts";
import { mutualTls } from "./client-world.ts";
import { type GrpcServerWorld, grpcServerWorld } from "./grpc-server-world.ts";
import { grpcWorld, none } from "./grpc-world.ts";
import { allow } from "./server-world.ts";

const root = makeCertificate("root");
const HealthClient = makeGenericClientConstructor(health, "Health");
type HealthClient = InstanceType<typeof HealthClient>;

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function reviews(): Promise<GrpcServerWorld> {
  const made = await grpcServerWorld(none, testIdentity(root, "shop", "reviews"));
  closers.push(() => made.close());
  made.publish("STRICT");
  return made;
}

/** A server with nothing but the health of the mesh on it, in plaintext, for probes. */
async function probes(world: GrpcServerWorld, services: readonly string[] = []) {
  const server = new Server();
  const said = addHealth(world.mesh, server, { services });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const client = new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure());
  closers.push(
    () => server.forceShutdown(),
    () => client.close(),
  );
  return { said, client };
}

function check(client: HealthClient, service = ""): Promise<number> {
  return new Promise((resolve, reject) => {
    (client["Check"] as Function)(
      { service },
      new Metadata(),
      (error: ServiceError | null, answer: { status: number }) =>
        error === null ? resolve(answer.status) : reject(error),
    );
  });
}

/** What a watcher has been told so far, and how its stream ended. */
function watch(client: HealthClient, service = ""): { readonly seen: number[]; readonly ended: Promise<number> } {
  const stream = (client["Watch"] as Function)({ service }) as ClientReadableStream<{ status: number }>;
  const seen: number[] = [];
  stream.on("data", (each: { status: number }) => seen.push(each.status));
  stream.on("error", () => {});
  return { seen, ended: new Promise((resolve) => stream.on("status", ({ code }) => resolve(code))) };
}

test("Check says what ready() waits for, and NOT_SERVING from the moment of close()", async () => {
  const world = await reviews();
  const { client } = await probes(world);
  world.become("starting");
  expect(await check(client)).toBe(2);
  world.become("ready");
  expect(await check(client)).toBe(1);
  world.become("draining");
  expect(await check(client)).toBe(2);
});

test("the application's own word for each service; one that nobody named is NOT_FOUND", async () => {
  const world = await reviews();
  const { client, said } = await probes(world, ["shop.Reviews"]);
  expect(await check(client, "shop.Reviews")).toBe(1);
  said.set("shop.Reviews", false);
  expect([await check(client, "shop.Reviews"), await check(client)]).toEqual([2, 1]);
  await expect(check(client, "shop.Ratings")).rejects.toMatchObject({ code: status.NOT_FOUND });
  said.set("shop.Ratings", true);
  expect(await check(client, "shop.Ratings")).toBe(1);
  world.become("draining");
  expect(await check(client, "shop.Ratings")).toBe(2);
});

test("Watch tells each change once, and its end does not keep the drain waiting", async () => {
  const world = await reviews();
  const { client, said } = await probes(world);
  const whole = watch(client);
  const unknown = watch(client, "shop.Reviews");
  await expect.poll(() => [whole.seen, unknown.seen]).toEqual([[1], [3]]);
  world.become("starting");
  world.become("starting");
  said.set("shop.Reviews", true);
  await expect
    .poll(() => [whole.seen, unknown.seen])
    .toEqual([
      [1, 2],
      [3, 2],
    ]);
  world.become("ready");
  await expect.poll(() => whole.seen).toEqual([1, 2, 1]);
  world.become("draining");
  expect(await Promise.all([whole.ended, unknown.ended])).toEqual([0, 0]);
  expect([whole.seen.at(-1), unknown.seen.at(-1)]).toEqual([2, 2]);
});

test("on a protected server it is a service like any other: mutual TLS, and policy by method", async () => {
  const world = await reviews();
  addHealth(world.mesh, world.server);
  const plain = new HealthClient(world.address, credentials.createInsecure());
  closers.push(() => plain.close());
  await expect(check(plain)).rejects.toMatchObject({ code: status.UNAVAILABLE });
  const web = grpcWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(world.address)], tls: mutualTls(spiffe("shop", "reviews")) })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => web.close());
  const client = new HealthClient("reviews:9090", credentials.createInsecure(), web.options());
  closers.push(() => client.close());
  expect(await check(client)).toBe(1);
  world.publish("STRICT", [allow(spiffe("shop", "web"), "/shop.Reviews/Get")]);
  await expect(check(client)).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
});

test("requests are read as protobuf has them, and garbage never does more than throw", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (service, number) => {
      const known = health.Check.requestSerialize({ service });
      const other = [(2 << 3) | 0];
      for (let rest = number; ; rest >>= 7n) {
        if (rest < 128n) {
          other.push(Number(rest));
          break;
        }
        other.push(Number(rest & 127n) | 128);
      }
      const fixed = [(3 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8, (4 << 3) | 5, 1, 2, 3, 4, (5 << 3) | 2, 2, 0x0a, 0x0a];
      expect(readRequest(Buffer.concat([Buffer.from(other), known, Buffer.from(fixed)]))).toBe(service.toWellFormed());
    }),
    { numRuns: 300, seed: 1 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        expect(typeof readRequest(Buffer.from(bytes))).toBe("string");
      } catch (thrown) {
        expect((thrown as Error).message).toMatch(/wire type|ends inside/);
      }
    }),
    { numRuns: 2_000, seed: 2 },
  );
});
