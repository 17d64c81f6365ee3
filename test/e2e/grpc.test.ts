import { once } from "node:events";
import {
  type ClientReadableStream,
  credentials,
  makeGenericClientConstructor,
  Metadata,
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { joinMesh, type Mesh } from "trama";
import { addHealth, meshClientOptions, meshInterceptor, peerOf, protectGrpc } from "trama/grpc";
import { afterAll, beforeAll, expect, test } from "vitest";

import { health } from "../../packages/sdk/src/adapters/grpc-health-messages.ts";
import { get, none, ReviewsClient, reviews } from "../../packages/sdk/test/grpc-world.ts";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type TestMesh } from "./harness/mesh.ts";
import { until } from "./harness/until.ts";
import { documents, domain, peerAuthentication } from "./harness/yaml.ts";

/** gRPC through a whole mesh: our control plane in its own process, a client and a server joined in this one. */

let world: TestMesh;
let mesh: Mesh;
let server: Server;
const clients: ReviewsClient[] = [];
const id = "spiffe://cluster.local/ns/shop/sa/reviews";

const policy = documents(
  peerAuthentication("shop", "STRICT"),
  `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews.shop.${domain}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9090, name: grpc, protocol: GRPC }]
  workloadSelector: { labels: { app: reviews } }
`,
  `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: reviews, namespace: shop }
spec:
  selector: { matchLabels: { app: reviews } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: [cluster.local/ns/shop/sa/reviews] } }]
      to: [{ operation: { paths: [/shop.Reviews/Get] } }]
`,
);

beforeAll(async () => {
  world = await startMesh({ yaml: { "shop.yaml": policy } });
  const env = await world.environment({ account: "reviews" }, "reviews-v1");
  mesh = await joinMesh({
    controlPlane: env["TRAMA_CONTROL_PLANE"],
    rootCertFile: env["TRAMA_ROOT_CERT_FILE"],
    token: env["TRAMA_TOKEN"]!,
    workload: "reviews-v1",
    labels: { app: "reviews", version: "v1" },
    drainMs: 50,
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  server = protectGrpc(mesh, new Server());
  let failures = 2;
  server.addService(reviews, {
    ...none,
    Get: (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) => {
      if (call.request === "flaky" && failures-- > 0) return done({ code: status.UNAVAILABLE, details: "not yet" });
      done(null, `${call.request} for ${peerOf(call)?.spiffeId}`);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  await world.write(
    "reviews.yaml",
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-v1, namespace: shop }
spec:
  address: 127.0.0.1
  ports: { grpc: ${port} }
  serviceAccount: reviews
  labels: { app: reviews, version: v1 }
`,
  );
  await mesh.ready();
});

afterAll(async () => {
  for (const client of clients) client.close();
  await mesh?.close();
  await world?.close();
  await expectNoLeaks();
});

function connect(target: string): ReviewsClient {
  const client = new ReviewsClient(target, credentials.createInsecure(), meshClientOptions(mesh));
  clients.push(client);
  return client;
}

test.each(["reviews:9090", `reviews.shop.${domain}:9090`, "xds:///reviews:9090"])(
  "%s, with mTLS both ways",
  async (target) => {
    const client = connect(target);
    await until("the endpoint is there", async () => {
      try {
        return (await get(client, "warm")) === `warm for ${id}`;
      } catch {
        return false;
      }
    });
    expect(await get(client, "hello")).toBe(`hello for ${id}`);
  },
);

test("the mesh's own retries, on a status", async () => {
  expect(await get(connect("reviews:9090"), "flaky")).toBe(`flaky for ${id}`);
});

test("authorization by method", async () => {
  const client = connect("reviews:9090");
  const error = await new Promise<ServiceError | null>((resolve) => {
    const text = (bytes: Buffer): Buffer => bytes;
    client.makeUnaryRequest("/shop.Reviews/List", text, text, Buffer.from("1"), (failed: ServiceError | null) =>
      resolve(failed),
    );
  });
  expect(error).toMatchObject({ code: status.PERMISSION_DENIED });
});

test("as an interceptor of a client that leads elsewhere", async () => {
  const client = new ReviewsClient("elsewhere.invalid:1", credentials.createInsecure(), {
    interceptors: [meshInterceptor(mesh, "reviews:9090")],
  });
  clients.push(client);
  expect(await get(client, "sideways", { deadline: Date.now() + 5_000 }, new Metadata())).toBe(`sideways for ${id}`);
});

test("status and metrics know of it", async () => {
  expect(mesh.status().servers).toEqual([expect.objectContaining({ ready: true, requestsInFlight: 0 })]);
  const text = await mesh.metricsText();
  expect(text).toMatch(
    /istio_requests_total\{[^}]*reporter="source"[^}]*request_protocol="grpc"[^}]*grpc_response_status="0"/,
  );
  expect(text).toMatch(/istio_requests_total\{[^}]*reporter="destination"[^}]*grpc_response_status="7"/);
  expect(text).toMatch(
    /istio_request_messages_total\{reporter="source",source_workload="reviews-v1"[^}]*destination_service_name="reviews"/,
  );
  expect(text).toMatch(/istio_response_messages_total\{reporter="destination"/);
});

test("a probe without a certificate hears of the drain while calls are still served", async () => {
  const probes = new Server();
  addHealth(mesh, probes);
  const port = await new Promise<number>((resolve, reject) =>
    probes.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const HealthClient = makeGenericClientConstructor(health, "Health");
  const probe = new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure());
  const watch = (probe["Watch"] as Function)({ service: "" }) as ClientReadableStream<{ status: number }>;
  const ended = once(watch, "end");
  expect(await once(watch, "data")).toEqual([{ status: 1 }]);
  const served = get(connect("reviews:9090"), "last");
  const closing = mesh.close();
  expect(await once(watch, "data")).toEqual([{ status: 2 }]);
  expect(mesh.status().state).toBe("draining");
  expect(await served).toBe(`last for ${id}`);
  await ended;
  await closing;
  probe.close();
  probes.forceShutdown();
});
