import type { MetricFamily } from "@trama/engine";
import { Registry } from "prom-client";
import { expect, test } from "vitest";

import { createRegistry } from "./metrics.ts";

const families: MetricFamily[] = [
  {
    name: "istio_requests_total",
    help: "Requests.",
    type: "counter",
    series: [{ labels: { reporter: "source", response_code: "200" }, value: 3 }],
  },
  {
    name: "istio_request_duration_milliseconds",
    help: "Duration.",
    type: "histogram",
    series: [
      {
        labels: { reporter: "source" },
        buckets: [
          { le: 0.5, count: 1 },
          { le: Infinity, count: 3 },
        ],
        sum: 7.5,
        count: 3,
      },
    ],
  },
];

test("Prometheus text, read anew with each scrape", async () => {
  let current = families.map((family) => ({ ...family, series: [] }) as MetricFamily);
  const registry = await createRegistry(() => current);
  expect(await registry.metrics()).not.toContain("} ");
  current = families;
  const text = await registry.metrics();
  expect(text.split("\n").filter((line) => !line.startsWith("#") && line !== "")).toEqual([
    `istio_requests_total{reporter="source",response_code="200"} 3`,
    `istio_request_duration_milliseconds_bucket{le="0.5",reporter="source"} 1`,
    `istio_request_duration_milliseconds_bucket{le="+Inf",reporter="source"} 3`,
    `istio_request_duration_milliseconds_sum{reporter="source"} 7.5`,
    `istio_request_duration_milliseconds_count{reporter="source"} 3`,
  ]);
  expect(text).toContain("# TYPE istio_request_duration_milliseconds histogram");
});

test("it merges with an application's own registry", async () => {
  const merged = Registry.merge([await createRegistry(() => families), new Registry()]);
  expect(await merged.metrics()).toContain("istio_requests_total{");
});
