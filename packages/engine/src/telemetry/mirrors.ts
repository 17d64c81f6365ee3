import type { ClusterInfo } from "../config.ts";
import type { MirrorOutcome } from "../env.ts";
import type { MetricFamily } from "./families.ts";

/**
 * Copies of calls, in a metric of their own: they are nobody's requests, so what counts requests must not hold them, and a copy that was
 * dropped is in no other place.
 */
export class MirrorCounts {
  readonly #counts = new Map<string, { readonly cluster: ClusterInfo; readonly labels: string[]; value: number }>();

  count(cluster: ClusterInfo, outcome: MirrorOutcome, status: number): void {
    const key = `${outcome} ${status} ${cluster.name}`;
    let found = this.#counts.get(key);
    if (found === undefined) {
      // Statuses are few, clusters are those of the configuration: nothing a peer says makes it grow without end.
      found = { cluster, labels: [outcome, String(status)], value: 0 };
      this.#counts.set(key, found);
    }
    found.value++;
  }

  collect(): MetricFamily {
    return {
      name: "trama_mirrored_requests_total",
      help: "Copies of requests that were sent to a mirror, or dropped.",
      type: "counter",
      series: Array.from(this.#counts.values(), ({ cluster, labels: [outcome = "", status = ""], value }) => ({
        labels: {
          destination_service: cluster.service?.host ?? "unknown",
          destination_service_name: cluster.service?.name ?? "unknown",
          destination_service_namespace: cluster.service?.namespace ?? "unknown",
          cluster: cluster.name,
          outcome,
          response_code: status,
        },
        value,
      })),
    };
  }
}
