import { quantile, type Sample } from "./metrics.ts";

/** One arrow of the live table: who called which version of what, from the server's own metrics. */
export interface Edge {
  readonly from: string;
  readonly to: string;
  requests: number;
  /** Answers that are no fault of the server: HTTP below 500, gRPC's other statuses. */
  good: number;
  denied: number;
  mtls: number;
  /** Cumulative, by upper bound in ms. */
  readonly buckets: Map<number, number>;
}

/** What OpenTelemetry's conventions count as a server's failure: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
const serverFaults: ReadonlySet<string> = new Set(["2", "4", "12", "13", "14", "15"]);

/** Sums the series of the receiving side by caller and receiver. */
export function edges(samples: readonly Sample[]): Map<string, Edge> {
  const found = new Map<string, Edge>();
  for (const { name, labels, value } of samples) {
    if (labels["reporter"] !== "destination") continue;
    const counts = name === "istio_requests_total";
    if (!counts && name !== "istio_request_duration_milliseconds_bucket") continue;
    const from = labels["source_workload"] ?? "unknown";
    const to = labels["destination_workload"] ?? "unknown";
    const key = `${from} ${to}`;
    let edge = found.get(key);
    if (edge === undefined) {
      edge = { from, to, requests: 0, good: 0, denied: 0, mtls: 0, buckets: new Map() };
      found.set(key, edge);
    }
    if (counts) {
      edge.requests += value;
      const code = Number(labels["response_code"]);
      const grpcStatus = labels["grpc_response_status"] ?? "";
      if (code > 0 && code < 500 && !serverFaults.has(grpcStatus)) edge.good += value;
      if (code === 403 || grpcStatus === "7") edge.denied += value;
      if (labels["connection_security_policy"] === "mutual_tls") edge.mtls += value;
    } else {
      const bound = labels["le"] === "+Inf" ? Infinity : Number(labels["le"]);
      edge.buckets.set(bound, (edge.buckets.get(bound) ?? 0) + value);
    }
  }
  return found;
}

/** What happened between two scrapes. */
export function difference(now: ReadonlyMap<string, Edge>, before: ReadonlyMap<string, Edge>): Edge[] {
  return [...now].map(([key, edge]) => {
    const old = before.get(key);
    if (old === undefined) return edge;
    return {
      ...edge,
      requests: edge.requests - old.requests,
      good: edge.good - old.good,
      denied: edge.denied - old.denied,
      mtls: edge.mtls - old.mtls,
      buckets: new Map([...edge.buckets].map(([bound, count]) => [bound, count - (old.buckets.get(bound) ?? 0)])),
    };
  });
}

export function edgeQuantile(edge: Edge, q: number): number {
  return quantile(q, edge.buckets);
}
