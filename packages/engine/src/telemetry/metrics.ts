import type { Call } from "../call.ts";
import type { Telemetry } from "../env.ts";
import { clientLabels, endsOnly, overflowLabels, serverLabels } from "./labels.ts";
import type { Labels, OwnWorkload } from "./labels.ts";
import { packOutcome, unpackOutcome } from "./outcome.ts";
import { SeriesTable, durationBounds } from "./series.ts";
import type { Cell } from "./series.ts";

/** One metric with all its series, as plain data: whoever exports it (Prometheus text, OpenTelemetry) brings the format. */
export type MetricFamily =
  | {
      readonly name: string;
      readonly help: string;
      readonly type: "counter";
      readonly series: readonly { readonly labels: Labels; readonly value: number }[];
    }
  | {
      readonly name: string;
      readonly help: string;
      readonly type: "histogram";
      readonly series: readonly HistogramSeries[];
    };

export interface HistogramSeries {
  readonly labels: Labels;
  /** Cumulated, as Prometheus has them; the last `le` is `Infinity`. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly sum: number;
  readonly count: number;
}

export interface MeshMetrics extends Telemetry {
  collect(): MetricFamily[];
}

export interface MetricsOptions {
  /**
   * Most series of each side; what is new past it is counted in one series whose labels are `other`. Default 2,000:
   * 50 workloads × 40 outcomes. A series costs about 300 bytes.
   */
  readonly maxSeries?: number;
}

/**
 * Istio's service metrics, `istio_requests_total` and `istio_request_duration_milliseconds`, counted once per call when
 * it ends. Recording finds a cell and adds to it: no label is built before somebody collects.
 */
export function createMetrics(own: Readonly<OwnWorkload>, options: MetricsOptions = {}): MeshMetrics {
  const max = options.maxSeries ?? 2_000;
  const client = new SeriesTable(max);
  const server = new SeriesTable(max);
  return {
    onCall(call: Call): void {
      const { record } = call;
      const outbound = call.side === "outbound";
      const cluster = record.cluster?.name ?? "";
      const service = record.cluster?.service;
      const host = outbound && service === undefined ? call.authority : "";
      const workload = record.peerWorkload ?? (outbound ? (record.endpoint?.workload ?? "") : "");
      const principal = record.peerPrincipal ?? "";
      const table = outbound ? client : server;
      const ms = record.endMs - record.startMs;
      const cell = table.cell(cluster, host, workload, principal, packOutcome(call), service);
      cell.observe(ms > 0 ? ms : 0);
      if (call.protocol === "grpc") {
        cell.requestMessages += record.requestMessages;
        cell.responseMessages += record.responseMessages;
      }
    },
    collect() {
      const found: [Labels, Cell][] = [];
      gather(client, own, "source", found);
      gather(server, own, "destination", found);
      return [requests(found), durations(found), ...messages(found)];
    },
  };
}

function gather(
  table: SeriesTable,
  own: OwnWorkload,
  reporter: "source" | "destination",
  into: [Labels, Cell][],
): void {
  const labels = reporter === "source" ? clientLabels : serverLabels;
  for (const group of table.groups())
    for (const [outcome, cell] of group.cells)
      into.push([labels(own, group, group.service, unpackOutcome(outcome)), cell]);
  if (table.overflow !== undefined) into.push([overflowLabels(reporter), table.overflow]);
}

function requests(found: readonly [Labels, Cell][]): MetricFamily {
  return {
    name: "istio_requests_total",
    help: "Requests that ended, answered or not.",
    type: "counter",
    series: found.map(([labels, cell]) => ({ labels, value: total(cell) })),
  };
}

function durations(found: readonly [Labels, Cell][]): MetricFamily {
  const series = found.map(([labels, cell]): HistogramSeries => {
    let count = 0;
    const buckets = Array.from(cell.buckets, (calls, at) => ({
      le: durationBounds[at] ?? Infinity,
      count: (count += calls),
    }));
    return { labels, buckets, sum: cell.sum, count };
  });
  return {
    name: "istio_request_duration_milliseconds",
    help: "Duration of requests in milliseconds, from the first byte to the last.",
    type: "histogram",
    series,
  };
}

/** Istio's message counters: how a call ended is none of their labels, so series that differ in nothing else are one. */
function messages(found: readonly [Labels, Cell][]): MetricFamily[] {
  const sums = new Map<string, { labels: Labels; request: number; response: number }>();
  for (const [all, { requestMessages, responseMessages }] of found) {
    if (requestMessages + responseMessages === 0) continue;
    const labels = endsOnly(all);
    const key = JSON.stringify(Object.values(labels));
    const sum = sums.get(key) ?? { labels, request: 0, response: 0 };
    sum.request += requestMessages;
    sum.response += responseMessages;
    sums.set(key, sum);
  }
  const family = (side: "request" | "response"): MetricFamily => ({
    name: `istio_${side}_messages_total`,
    help: `Messages in the ${side}s of gRPC calls that ended.`,
    type: "counter",
    series: Array.from(sums.values(), (sum) => ({ labels: sum.labels, value: sum[side] })),
  });
  return [family("request"), family("response")];
}

function total(cell: Cell): number {
  let sum = 0;
  for (const calls of cell.buckets) sum += calls;
  return sum;
}
