import fc from "fast-check";
import { expect, it } from "vitest";
import { type CallOptions, makeCall } from "../../../../test/kit/call.ts";
import type { Call, RequestBody } from "../call.ts";
import type { OwnWorkload } from "./labels.ts";
import { createMetrics, type MeshMetrics, type MetricsOptions } from "./metrics.ts";

// Connections of opaque ports: Istio's four counters.

const own: OwnWorkload = {
  workload: "web-v1",
  namespace: "shop",
  app: "web",
  version: "v1",
  canonicalService: "web",
  canonicalRevision: "v1",
  cluster: "east",
  principal: "",
};

interface Moved extends RequestBody {
  request: number;
  response: number;
}

function begin(metrics: MeshMetrics, options: CallOptions = {}): { call: Call; body: Moved } {
  const body: Moved = {
    request: 0,
    response: 0,
    canReplay: () => true,
    traffic() {
      return { request: this.request, response: this.response };
    },
  };
  const call = makeCall({ protocol: "tcp", method: "CONNECT", path: "/", body, ...options });
  call.record.cluster = {
    name: "outbound|5432||db.shop.svc.cluster.local",
    service: { host: "db.shop.svc.cluster.local", name: "db", namespace: "shop" },
  };
  call.record.reached = true;
  metrics.onOpen(call);
  return { call, body };
}

const names = ["connections_opened", "connections_closed", "received_bytes", "sent_bytes"] as const;

/** By reporter and flags: opened, closed, received, sent. */
function values(metrics: MeshMetrics): Record<string, number[]> {
  const found: Record<string, number[]> = {};
  const families = metrics.collect();
  for (const [at, name] of names.entries()) {
    const family = families.find((each) => each.name === `istio_tcp_${name}_total`);
    if (family?.type !== "counter") throw new Error(name);
    for (const { labels, value } of family.series)
      (found[`${labels["reporter"]} ${labels["response_flags"]}`] ??= [0, 0, 0, 0])[at] = value;
  }
  return found;
}

it("an open connection shows what went over it whenever somebody looks, and its end adds only the rest", () => {
  const metrics = createMetrics(own);
  const { call, body } = begin(metrics);
  Object.assign(body, { request: 10, response: 100 });
  expect(values(metrics)).toEqual({ "source -": [1, 0, 10, 100] });
  expect(values(metrics)).toEqual({ "source -": [1, 0, 10, 100] });
  Object.assign(body, { request: 15, response: 300 });
  call.record.flag = "LR";
  metrics.onCall(call);
  expect(values(metrics)).toEqual({ "source -": [1, 0, 10, 100], "source LR": [0, 1, 5, 200] });
  body.request = 1_000;
  expect(values(metrics)["source LR"]).toEqual([0, 1, 5, 200]);
});

it("the labels are Istio's: those of requests without the ones about an answer", () => {
  const metrics = createMetrics(own);
  const { call } = begin(metrics, { side: "inbound" });
  call.record.mtls = true;
  metrics.onCall(call);
  const family = metrics.collect().find(({ name }) => name === "istio_tcp_connections_closed_total");
  const labels = family?.series[0]?.labels ?? {};
  expect(labels).toMatchObject({
    reporter: "destination",
    destination_service: "db.shop.svc.cluster.local",
    destination_service_name: "db",
    request_protocol: "tcp",
    response_flags: "-",
    connection_security_policy: "mutual_tls",
  });
  expect(Object.keys(labels)).not.toContain("response_code");
  expect(Object.keys(labels)).not.toContain("grpc_response_status");
  // They are no requests.
  expect(metrics.collect().find(({ name }) => name === "istio_requests_total")?.series).toEqual([]);
});

it("one that reached nobody yet is counted for nobody, and one that never does with its flag", () => {
  const metrics = createMetrics(own);
  const { call } = begin(metrics);
  call.record.reached = false;
  expect(values(metrics)).toEqual({});
  call.record.flag = "UF";
  metrics.onCall(call);
  expect(values(metrics)).toEqual({ "source UF": [1, 1, 0, 0] });
});

it("counters never fall, and lose nothing, whoever looks and when; past the bound all share one series", () => {
  const step = fc.record({ of: fc.nat(3), kind: fc.constantFrom("send", "receive", "look", "end") });
  const bound = fc.constantFrom<MetricsOptions>({}, { maxSeries: 0 });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), bound, (steps, options) => {
      const metrics = createMetrics(own, options);
      const all = Array.from({ length: 4 }, () => begin(metrics));
      const ended = new Set<number>();
      let [sent, received] = [0, 0];
      for (const { of, kind } of steps) {
        if (kind === "look") metrics.collect();
        else if (ended.has(of)) continue;
        else if (kind === "end") {
          ended.add(of);
          metrics.onCall(all[of]!.call);
        } else if (kind === "send") {
          all[of]!.body.request += 3;
          sent += 3;
        } else {
          all[of]!.body.response += 5;
          received += 5;
        }
      }
      const series = Object.values(values(metrics));
      const sum = (at: number): number => series.reduce((total, one) => total + one[at]!, 0);
      expect([sum(0), sum(1), sum(2), sum(3)]).toEqual([4, ended.size, sent, received]);
    }),
  );
});
