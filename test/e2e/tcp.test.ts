import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeCertificate } from "../kit/certs.ts";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { parseMetrics } from "./harness/metrics.ts";
import { rawPlain } from "./harness/raw.ts";
import { until } from "./harness/until.ts";
import { documents, domain, peerAuthentication } from "./harness/yaml.ts";

/** Opaque ports: drivers' connections inside the mesh, and TLS that is the application's own, led by its server name. */

const root = makeCertificate("root");
let folder: string;
let mesh: TestMesh;
let client: Client;
let other: Client;
let v1: Service;
let v2: Service;
const outside: https.Server[] = [];

const store = (rule: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: store, namespace: shop }
spec:
  hosts: [store.shop.${domain}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 5432, name: tcp, protocol: TCP }]
  workloadSelector: { labels: { app: store } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: store, namespace: shop }
spec:
  host: store.shop.${domain}
  subsets:
    - { name: v1, labels: { version: v1 } }
    - { name: v2, labels: { version: v2 } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: store, namespace: shop }
spec:
  hosts: [store.shop.${domain}]
  tcp:
    - route: [${rule}]
`;

const to = (subset: string): string => `{ destination: { host: store.shop.${domain}, subset: ${subset} } }`;

const external = (name: string, port: number): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}.example.com]
  resolution: STATIC
  ports: [{ number: 443, name: tls, protocol: TLS, targetPort: ${port} }]
  endpoints: [{ address: 127.0.0.1 }]
`;

/** Another server behind the same name: by its certificate it is the one that was asked for. */
const detour = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: api, namespace: shop }
spec:
  hosts: [api.example.com]
  tls:
    - match: [{ port: 443, sniHosts: [api.example.com] }]
      route: [{ destination: { host: mirror.example.com, port: { number: 443 } } }]
`;

async function server(answer: string): Promise<number> {
  const { certPem: cert, keyPem: key } = makeCertificate(answer, { issuer: root, dnsNames: ["api.example.com"] });
  const made = https.createServer({ cert, key }, (_request, response) => {
    // A route holds for new connections.
    response.setHeader("connection", "close");
    response.end(answer);
  });
  made.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  outside.push(made);
  return (made.address() as AddressInfo).port;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "trama-e2e-tcp-"));
  writeFileSync(join(folder, "root.pem"), root.certPem);
  const [api, mirror] = await Promise.all([server("api"), server("mirror")]);
  mesh = await startMesh({
    yaml: {
      "shop.yaml": documents(peerAuthentication("shop", "STRICT")),
      "store.yaml": store(to("v1")),
      "outside.yaml": documents(external("api", api), external("mirror", mirror)),
    },
  });
  [v1, v2] = await Promise.all([
    mesh.service({ app: "store", framework: "net" }),
    mesh.service({ app: "store", version: "v2", framework: "net" }),
  ]);
  [client, other] = await Promise.all([
    mesh.client({ account: "customer" }, { env: { NODE_EXTRA_CA_CERTS: join(folder, "root.pem") } }),
    mesh.client({ account: "stranger" }),
  ]);
  await until("the store answers", async () => (await say(client)).line !== undefined);
});
afterAll(async () => {
  await mesh?.close();
  for (const one of outside) {
    one.closeAllConnections();
    await new Promise((resolve) => one.close(resolve));
  }
  rmSync(folder, { recursive: true, force: true });
  await expectNoLeaks();
});

const say = (from: Client, more: { readonly stream?: boolean } = {}): ReturnType<typeof call> =>
  call(from, { host: "store", port: 5432, say: "hello", ...more });
const call = (
  from: Client,
  options: Parameters<Client["call"]>[1],
): Promise<{ line?: string; failure?: { code?: string } }> => from.call("connect", options as never);

test("a driver's connection is mutual TLS, and the server knows who calls; plaintext is cut", async () => {
  expect(await say(client)).toEqual({ line: "v1 spiffe://cluster.local/ns/shop/sa/customer hello" });
  expect(await say(client, { stream: true })).toEqual({ line: "v1 spiffe://cluster.local/ns/shop/sa/customer hello" });
  expect(await rawPlain(v1.port, "hello")).toMatchObject({ text: "" });
});

test("a weight that changes holds for the next connection", async () => {
  await mesh.write("store.yaml", store(to("v2")));
  await until("v2 answers", async () => (await say(client)).line?.startsWith("v2 ") === true);
  const answers = await Promise.all(Array.from({ length: 10 }, () => say(client)));
  expect(answers.map(({ line }) => line?.slice(0, 2))).toEqual(Array.from({ length: 10 }, () => "v2"));
  await mesh.write(
    "store.yaml",
    store(`${to("v1").replace(" } }", " }, weight: 50 }")}, ${to("v2").replace(" } }", " }, weight: 50 }")}`),
  );
  const seen = new Set<string | undefined>();
  await until("both answer", async () => seen.add((await say(client)).line?.slice(0, 2)).size === 2);
});

test("authorization looks at the peer, and ends connections that it would not let in", async () => {
  await mesh.write(
    "authorization.yaml",
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: store, namespace: shop }
spec:
  selector: { matchLabels: { app: store } }
  action: ALLOW
  rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/customer] } }] }]
`,
  );
  await until("strangers are refused", async () => (await say(other)).line === "");
  expect((await say(client)).line).toContain("sa/customer hello");
  await mesh.remove("authorization.yaml");
  await until("strangers are let in", async () => ((await say(other)).line ?? "").includes("sa/stranger hello"));
});

test("both ends count connections and bytes, under Istio's names", async () => {
  let ours = count(await client.call("metrics"), "source");
  await until("what was opened is closed", async () => {
    ours = count(await client.call("metrics"), "source");
    return ours.opened > 10 && ours.opened === ours.closed;
  });
  const texts = await Promise.all([v1.call("metrics"), v2.call("metrics")]);
  const theirs = count(texts.join("\n"), "destination");
  // The servers know of the stranger's, too.
  expect(theirs.opened).toBeGreaterThanOrEqual(ours.opened);
  expect(ours.received).toBeGreaterThanOrEqual(5 * (ours.opened - 1));
  expect(ours.sent).toBeGreaterThan(ours.received);
});

function count(text: string, reporter: string): { opened: number; closed: number; received: number; sent: number } {
  const samples = parseMetrics(text).filter(
    ({ labels }) => labels["reporter"] === reporter && labels["destination_service_name"] === "store",
  );
  const sum = (name: string): number =>
    samples.filter((one) => one.name === `istio_tcp_${name}_total`).reduce((total, { value }) => total + value, 0);
  return {
    opened: sum("connections_opened"),
    closed: sum("connections_closed"),
    received: sum("received_bytes"),
    sent: sum("sent_bytes"),
  };
}

test.each(["mesh.fetch", "undici.request", "node:http"] as const)(
  "%s to a TLS port: the application's own TLS, led by its server name",
  async (via) => {
    const get = async (): Promise<string | undefined> =>
      (await client.call("attempt", { url: "https://api.example.com/", via })).answer?.text;
    await until("the server itself answers", async () => (await get()) === "api");
    await mesh.write("detour.yaml", detour);
    await until("new connections take the detour", async () => (await get()) === "mirror");
    await mesh.remove("detour.yaml");
  },
);

test("a server name without a rule has no connection, and the error says so", async () => {
  await mesh.write("detour.yaml", detour);
  await until("only the name of the rule is led", async () => {
    const { failure } = await call(client, { host: "api.example.com", port: 443, servername: "else.example.com" });
    return failure?.code === "NO_ROUTE";
  });
  await mesh.remove("detour.yaml");
});
