import { describe, expect, it } from "vitest";
import { makeCall, makePeer } from "../../../../test/kit/call.ts";
import type { CallOptions } from "../../../../test/kit/call.ts";
import { endpoint } from "../../../../test/kit/mesh-config.ts";
import type { CallRecord } from "../record.ts";
import type { OwnWorkload } from "./labels.ts";
import { createMetrics } from "./metrics.ts";
import type { MeshMetrics } from "./metrics.ts";
import { durationBounds } from "./series.ts";

const own: OwnWorkload = {
  workload: "web-v1",
  namespace: "shop",
  app: "web",
  version: "v1",
  canonicalService: "web",
  canonicalRevision: "v1",
  cluster: "east",
  principal: "spiffe://cluster.local/ns/shop/sa/web",
};
const reviews = {
  name: "outbound|9080||reviews.shop.svc.cluster.local",
  service: { host: "reviews.shop.svc.cluster.local", name: "reviews", namespace: "shop" },
};

type Record = { -readonly [K in keyof CallRecord]?: CallRecord[K] };

function end(metrics: MeshMetrics, record: Record, call: CallOptions = {}, ms = 3): void {
  const made = makeCall(call);
  Object.assign(made.record, { status: 200, endMs: made.record.startMs + ms, ...record });
  metrics.onCall(made);
}

function only(metrics: MeshMetrics) {
  const [requests, durations] = metrics.collect();
  if (requests?.type !== "counter" || durations?.type !== "histogram") throw new Error("two families");
  expect(requests.series).toHaveLength(1);
  expect(durations.series[0]!.labels).toEqual(requests.series[0]!.labels);
  return { labels: requests.series[0]!.labels, value: requests.series[0]!.value, histogram: durations.series[0]! };
}

describe("labels (istio-api §18.2)", () => {
  it("at the caller", () => {
    const metrics = createMetrics(own);
    const at = endpoint("10.0.0.1:9080", { workload: "reviews-v2;shop;reviews;v2;west;reviews;v2" });
    end(metrics, {
      cluster: reviews,
      endpoint: at,
      peerPrincipal: "spiffe://cluster.local/ns/shop/sa/reviews",
      mtls: true,
    });
    expect(only(metrics)).toMatchObject({ value: 1 });
    expect(only(metrics).labels).toEqual({
      reporter: "source",
      source_workload: "web-v1",
      source_workload_namespace: "shop",
      source_principal: own.principal,
      source_app: "web",
      source_version: "v1",
      source_canonical_service: "web",
      source_canonical_revision: "v1",
      source_cluster: "east",
      destination_workload: "reviews-v2",
      destination_workload_namespace: "shop",
      destination_principal: "spiffe://cluster.local/ns/shop/sa/reviews",
      destination_app: "reviews",
      destination_version: "v2",
      destination_canonical_service: "reviews",
      destination_canonical_revision: "v2",
      destination_cluster: "west",
      destination_service: "reviews.shop.svc.cluster.local",
      destination_service_name: "reviews",
      destination_service_namespace: "shop",
      request_protocol: "http",
      response_code: "200",
      grpc_response_status: "",
      response_flags: "-",
      connection_security_policy: "unknown",
    });
  });

  it("at the server", () => {
    const metrics = createMetrics(own);
    const record: Record = {
      cluster: { name: "inbound|9080||", service: reviews.service },
      mtls: true,
      peerPrincipal: "spiffe://cluster.local/ns/blog/sa/x",
      peerWorkload: "blog-1;blog;blog;;east",
      grpcStatus: 7,
      status: 403,
      flag: "UAEX",
    };
    end(metrics, record, { side: "inbound", protocol: "grpc", peer: makePeer() });
    expect(only(metrics).labels).toMatchObject({
      reporter: "destination",
      source_workload: "blog-1",
      source_workload_namespace: "blog",
      source_principal: "spiffe://cluster.local/ns/blog/sa/x",
      source_canonical_revision: "latest",
      destination_workload: "web-v1",
      destination_service: "reviews.shop.svc.cluster.local",
      destination_service_namespace: "shop",
      request_protocol: "grpc",
      response_code: "403",
      grpc_response_status: "7",
      response_flags: "UAEX",
      connection_security_policy: "mutual_tls",
    });
  });

  it("what is not known is said to be unknown; hosts without a service at the caller only", () => {
    const metrics = createMetrics({ ...own, principal: "", canonicalRevision: "" });
    end(metrics, { cluster: { name: "PassthroughCluster", service: undefined } }, { authority: "api.example.com" });
    expect(only(metrics).labels).toMatchObject({
      source_principal: "unknown",
      source_canonical_revision: "latest",
      destination_workload: "unknown",
      destination_canonical_revision: "latest",
      destination_service: "api.example.com",
      destination_service_name: "PassthroughCluster",
    });
    const server = createMetrics(own);
    end(
      server,
      { cluster: { name: "inbound|80||", service: undefined } },
      { side: "inbound", authority: "evil.example.com" },
    );
    expect(only(server).labels).toMatchObject({
      destination_service: "web",
      destination_service_name: "InboundPassthroughCluster",
      connection_security_policy: "none",
      source_workload: "unknown",
    });
  });

  it("the proven namespace goes before the claimed one", () => {
    const metrics = createMetrics(own);
    end(
      metrics,
      { peerPrincipal: "spiffe://cluster.local/ns/real/sa/x", peerWorkload: "w;claimed;s;r;c" },
      { side: "inbound" },
    );
    expect(only(metrics).labels["source_workload_namespace"]).toBe("real");
  });

  it("a principal that is learnt late is shown", () => {
    const late = { ...own, principal: "" };
    const metrics = createMetrics(late);
    end(metrics, {});
    late.principal = "spiffe://cluster.local/ns/shop/sa/web";
    expect(only(metrics).labels["source_principal"]).toBe(late.principal);
  });
});

describe("values", () => {
  it("one series per outcome, counted apart", () => {
    const metrics = createMetrics(own);
    const outcomes: Record[] = [
      {},
      { status: 503, flag: "UO" },
      { status: 503, flag: "URX" },
      { status: 0, flag: "DC" },
    ];
    for (const [n, outcome] of outcomes.entries())
      for (let i = 0; i <= n; i++) end(metrics, { cluster: reviews, ...outcome });
    const [requests] = metrics.collect();
    const seen = requests!.series.map((each) => [
      each.labels["response_code"],
      each.labels["response_flags"],
      "value" in each && each.value,
    ]);
    expect(seen).toEqual([
      ["200", "-", 1],
      ["503", "UO", 2],
      ["503", "URX", 3],
      ["0", "DC", 4],
    ]);
  });

  it("buckets are Istio's, cumulated, bounds inclusive", () => {
    const metrics = createMetrics(own);
    for (const ms of [0, 0.5, 0.6, 3, 3_600_000, 9_999_999, NaN]) end(metrics, {}, {}, ms);
    const { histogram } = only(metrics);
    expect(histogram.buckets.map(({ le }) => le)).toEqual([...durationBounds, Infinity]);
    expect(histogram.buckets.slice(0, 3)).toEqual([
      { le: 0.5, count: 3 },
      { le: 1, count: 4 },
      { le: 5, count: 5 },
    ]);
    expect(histogram.buckets.at(-1)).toEqual({ le: Infinity, count: 7 });
    expect(histogram.count).toBe(7);
    expect(histogram.sum).toBeCloseTo(0 + 0.5 + 0.6 + 3 + 3_600_000 + 9_999_999);
  });
});

describe("bounds", () => {
  it("past the cap new series share one, and none is lost", () => {
    const metrics = createMetrics(own, { maxSeries: 10 });
    for (let i = 0; i < 1_000; i++) end(metrics, {}, { authority: `host-${i}` });
    for (let i = 0; i < 5; i++) end(metrics, {}, { authority: "host-0" });
    const [requests] = metrics.collect();
    if (requests?.type !== "counter") throw new Error("a counter");
    expect(requests.series).toHaveLength(11);
    const other = requests.series.at(-1)!;
    expect(other.value).toBe(990);
    expect(other.labels).toMatchObject({ reporter: "source", destination_service: "other", response_code: "other" });
    expect(Object.keys(other.labels).sort()).toEqual(Object.keys(requests.series[0]!.labels).sort());
    expect(requests.series[0]!.value).toBe(6);
  });

  it("gRPC messages are summed over outcomes, with the labels of the two ends only", () => {
    const metrics = createMetrics(own);
    const grpc: CallOptions = { protocol: "grpc", method: "POST" };
    end(metrics, { cluster: reviews, grpcStatus: 0, requestMessages: 1, responseMessages: 3 }, grpc);
    end(metrics, { cluster: reviews, grpcStatus: 14, requestMessages: 2 }, grpc);
    end(metrics, { cluster: reviews });
    const families = metrics.collect().slice(2, 4);
    expect(families.map(({ name, series }) => [name, series.map((each) => "value" in each && each.value)])).toEqual([
      ["istio_request_messages_total", [3]],
      ["istio_response_messages_total", [3]],
    ]);
    const { labels } = families[0]!.series[0]!;
    expect(Object.keys(labels).every((name) => /^(reporter$|source_|destination_)/.test(name))).toBe(true);
    expect(labels).toMatchObject({
      reporter: "source",
      source_workload: "web-v1",
      destination_service_name: "reviews",
    });
  });

  it("series that differ in nothing that people see are one", () => {
    const metrics = createMetrics(own);
    for (const port of [80, 9080]) end(metrics, { cluster: { ...reviews, name: `outbound|${port}||reviews` } });
    expect(only(metrics)).toMatchObject({ value: 2, histogram: { count: 2, sum: 6 } });
  });

  it("long texts of peers are cut", () => {
    const metrics = createMetrics(own);
    end(metrics, { peerWorkload: `${"x".repeat(10_000)};n;s;r;c` }, { side: "inbound" });
    expect(only(metrics).labels["source_workload"]).toHaveLength(256);
  });
});
