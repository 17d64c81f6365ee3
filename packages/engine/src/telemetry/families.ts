import type { Labels } from "./labels.ts";

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
