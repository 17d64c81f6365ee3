import { afterAll, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { parseMetrics, pick, total, type Sample } from "./harness/metrics.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { until } from "./harness/until.ts";
import { authorization, documents, peerAuthentication, route, serviceEntry } from "./harness/yaml.ts";

/** Istio's service metrics (istio-api §18): the same request counted at both ends, with the labels that dashboards ask for. */

const requests = "istio_requests_total";
const duration = "istio_request_duration_milliseconds";
/** §18.2, and no other. */
const labelNames = [
  "reporter",
  ...[
    "workload",
    "workload_namespace",
    "principal",
    "app",
    "version",
    "canonical_service",
    "canonical_revision",
    "cluster",
  ].flatMap((name) => [`source_${name}`, `destination_${name}`]),
  "destination_service",
  "destination_service_name",
  "destination_service_namespace",
  "request_protocol",
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
].sort();
const bounds = [
  ..."0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000".split(" "),
  "+Inf",
];

let mesh: TestMesh;
let client: Client;
let service: Service;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "shop.yaml": documents(
        peerAuthentication("shop", "STRICT"),
        serviceEntry("catalog", "shop"),
        route("catalog", "shop", {
          timeout: "5s",
          retries: `{ attempts: 2, retryOn: "503,connect-failure", backoff: 2ms }`,
        }),
        authorization("catalog", "shop", "catalog", "DENY", `    - to: [{ operation: { paths: [/secret] } }]`),
      ),
    },
  });
  [service, client] = await Promise.all([
    mesh.service({ app: "catalog", framework: "fastify" }),
    mesh.client({ account: "customer" }),
  ]);
  await until("the policy is in force", async () => {
    const { answer } = await client.call("attempt", { url: "http://catalog:8080/secret" });
    return answer?.status === 403;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});

const scrape = async (end: Client | Service): Promise<Sample[]> => parseMetrics(await (end as Client).call("metrics"));

test("both ends count each request once, with who, where, what and how", async () => {
  const [clientBefore, serverBefore] = [await scrape(client), await scrape(service)];
  await client.call("burst", { url: "http://catalog:8080/echo", count: 40 });
  await client.call("burst", { url: "http://catalog:8080/echo", count: 10, method: "POST", bodyBytes: 10 });
  await client.call("burst", { url: "http://catalog:8080/status?code=404", count: 7 });
  await client.call("burst", { url: "http://catalog:8080/secret", count: 5 });
  // 6 good answers in a row of tries in which every second is a 503: the caller's end sees 6, the server's 6 and the 503s.
  await client.call("burst", { url: "http://catalog:8080/flaky?every=2", count: 6, concurrency: 1 });
  const { served } = await service.call("stats");
  const retried = served["GET /flaky"]! - 6;
  expect(retried).toBeGreaterThan(0);
  const [atClient, atServer] = [await scrape(client), await scrape(service)];

  const grown = (now: Sample[], before: Sample[], labels: Record<string, string>): number =>
    total(now, requests, labels) - total(before, requests, labels);
  const source = (code: string): number => grown(atClient, clientBefore, { reporter: "source", response_code: code });
  const destination = (code: string): number =>
    grown(atServer, serverBefore, { reporter: "destination", response_code: code });
  expect({ 200: source("200"), 404: source("404"), 403: source("403"), 503: source("503") }).toEqual({
    200: 56,
    404: 7,
    403: 5,
    503: 0,
  });
  expect({
    200: destination("200"),
    404: destination("404"),
    403: destination("403"),
    503: destination("503"),
  }).toEqual({ 200: 56, 404: 7, 403: 5, 503: retried });

  const common = {
    source_workload: "customer",
    source_workload_namespace: "shop",
    source_canonical_service: "customer",
    source_canonical_revision: "v1",
    source_principal: "spiffe://cluster.local/ns/shop/sa/customer",
    destination_workload: "catalog-v1",
    destination_workload_namespace: "shop",
    destination_canonical_service: "catalog",
    destination_canonical_revision: "v1",
    destination_principal: "spiffe://cluster.local/ns/shop/sa/catalog",
    destination_service: "catalog.shop.svc.cluster.local",
    destination_service_name: "catalog",
    destination_service_namespace: "shop",
    request_protocol: "http",
    response_flags: "-",
    grpc_response_status: "",
  };
  const [good] = pick(atClient, requests, { response_code: "200" });
  expect(good!.labels).toMatchObject({ ...common, reporter: "source", connection_security_policy: "unknown" });
  const [seen] = pick(atServer, requests, { response_code: "200", source_workload: "customer" });
  expect(seen!.labels).toMatchObject({ ...common, reporter: "destination", connection_security_policy: "mutual_tls" });
  for (const sample of [...pick(atClient, requests), ...pick(atServer, requests)])
    expect(Object.keys(sample.labels).sort()).toEqual(labelNames);
});

test("durations have Istio's buckets, and as many observations as there were requests", async () => {
  await client.call("burst", { url: "http://catalog:8080/slow?ms=60", count: 10, concurrency: 10 });
  for (const end of [client, service]) {
    const samples = await scrape(end);
    for (const counted of pick(samples, requests)) {
      expect(pick(samples, `${duration}_count`, counted.labels)).toEqual([{ ...counted, name: `${duration}_count` }]);
      const buckets = pick(samples, `${duration}_bucket`, counted.labels);
      expect(buckets.map(({ labels }) => labels["le"])).toEqual(bounds);
      expect(buckets.map(({ value }) => value)).toEqual(buckets.map(({ value }) => value).toSorted((a, b) => a - b));
      expect(buckets.at(-1)!.value).toBe(counted.value);
    }
    // Ten requests of 60 ms: that much time is in the sum, and above the bucket of 50 ms.
    expect(total(samples, `${duration}_sum`)).toBeGreaterThan(600);
    expect(
      total(samples, `${duration}_count`) - total(samples, `${duration}_bucket`, { le: "50" }),
    ).toBeGreaterThanOrEqual(10);
  }
});

test("a request that got no answer is counted, with the flag that says why", async () => {
  await mesh.write("nobody.yaml", serviceEntry("nobody", "shop"));
  await until("the host without endpoints is known", async () => {
    await client.call("attempt", { url: "http://nobody:8080/" });
    const samples = await scrape(client);
    return total(samples, requests, { destination_service_name: "nobody", response_flags: "UH" }) > 0;
  });
});
