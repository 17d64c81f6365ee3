import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type TestMesh } from "./harness/mesh.ts";
import { sniGateway, type SniGateway } from "./harness/sni-gateway.ts";
import { until } from "./harness/until.ts";
import { documents, domain, peerAuthentication } from "./harness/yaml.ts";

/** Two networks: a call goes by the gateway of the other one, which sees a server name and passes bytes on. */

let folder: string;
let gateway: SniGateway;
let mesh: TestMesh;
let near: Client;
let far: Client;

const entry = (host: string, endpoint: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${host}, namespace: shop }
spec:
  hosts: [${host}.shop.${domain}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http }]
  endpoints: [{ network: east, labels: { version: v1 }, ${endpoint} }]
`;
const rules = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: shop }
spec: { host: reviews, subsets: [{ name: v1, labels: { version: v1 } }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews]
  http:
    - { match: [{ headers: { version: { exact: v1 } } }], route: [{ destination: { host: reviews, subset: v1 } }] }
    - { route: [{ destination: { host: reviews } }] }
`;
const sni = (host: string, subset = ""): string => `outbound_.80_.${subset}_.${host}.shop.${domain}`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "trama-e2e-networks-"));
  gateway = await sniGateway();
  const networksFile = join(folder, "networks.yaml");
  const way = `{ address: 127.0.0.1, port: ${gateway.port} }`;
  writeFileSync(networksFile, `networks: { west: {}, east: { gateways: [${way}] } }`);
  mesh = await startMesh({
    yaml: { "shop.yaml": peerAuthentication("shop", "STRICT") },
    controlPlane: { networksFile },
  });
  const service = await mesh.service({ app: "reviews", register: false });
  const reached = `address: 127.0.0.1, ports: { http: ${service.port} }`;
  await mesh.write(
    "reviews.yaml",
    documents(
      entry("reviews", `${reached}, serviceAccount: reviews`),
      // Nobody but the gateway knows where it is.
      entry("hidden", "serviceAccount: reviews"),
      // To which the gateway of this test leads calls that are for somebody else.
      entry("imposed", "serviceAccount: imposed"),
      rules,
    ),
  );
  for (const name of [sni("reviews"), sni("reviews", "v1"), sni("hidden"), sni("imposed")])
    gateway.routes.set(name, service.port);
  const at = (network: string) => ({ env: { TRAMA_LABELS: `topology.istio.io/network=${network}` } });
  [near, far] = await Promise.all([
    mesh.client({ account: "near" }, at("east")),
    mesh.client({ account: "far" }, at("west")),
  ]);
  await until("the service answers", async () => (await peer(near, "reviews")) !== undefined);
});
afterAll(async () => {
  await mesh?.close();
  await gateway?.close();
  rmSync(folder, { recursive: true, force: true });
  await expectNoLeaks();
});

/** As whom the service knows the caller; `undefined`: there was no answer of it. */
async function peer(client: Client, host: string, headers = {}): Promise<string | undefined> {
  const { answer } = await client.call("attempt", { url: `http://${host}/`, headers });
  return answer?.status === 200 ? (JSON.parse(answer.text) as { peer: string }).peer : undefined;
}

test("in one network nobody needs a gateway; into another, server and caller see each other through it", async () => {
  expect(await peer(near, "reviews")).toBe("spiffe://cluster.local/ns/shop/sa/near");
  expect(gateway.names).toEqual([]);
  const own = "spiffe://cluster.local/ns/shop/sa/far";
  expect(await peer(far, "reviews")).toBe(own);
  expect(await peer(far, "reviews", { version: "v1" })).toBe(own);
  expect(await peer(far, "hidden")).toBe(own);
  expect(gateway.names).toEqual([sni("reviews"), sni("reviews", "v1"), sni("hidden")]);
});

test("a workload without an address is reached by the gateway alone", async () => {
  const before = gateway.names.length;
  expect(await peer(near, "hidden")).toBeUndefined();
  expect(gateway.names.length).toBe(before);
});

test("the caller judges whom it came to, wherever the gateway leads it", async () => {
  const { failure } = await far.call("attempt", { url: "http://imposed/", via: "undici.request" });
  expect(failure).toMatchObject({ code: "TLS_FAILED" });
  expect(gateway.names.at(-1)).toBe(sni("imposed"));
});
