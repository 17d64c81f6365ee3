import type { RunningEnvoy } from "../../envoy/process.ts";

/** What Envoy's main thread, which ejects, says of a cluster. */
export interface ClusterHealth {
  /** Addresses of all that are out, in order. */
  readonly ejected: readonly string[];
  /** Percent of successes in the interval before, of those endpoints that had enough requests to be judged. */
  readonly rates: readonly (number | undefined)[];
}

interface ClusterStatus {
  readonly name: string;
  readonly host_statuses?: readonly {
    readonly address: { readonly socket_address: { readonly address: string; readonly port_value: number } };
    readonly health_status: { readonly failed_outlier_check?: boolean };
    readonly success_rate?: { readonly value?: number };
  }[];
}

/** By the name of the cluster; `filter` is a regex of those that are asked for. */
export async function clusterHealth(envoy: RunningEnvoy, filter: string): Promise<ReadonlyMap<string, ClusterHealth>> {
  const text = await envoy.admin(`/clusters?format=json&filter=${encodeURIComponent(filter)}`);
  const { cluster_statuses: all } = JSON.parse(text) as { readonly cluster_statuses: readonly ClusterStatus[] };
  return new Map(
    all.map(({ name, host_statuses: hosts = [] }) => [
      name,
      {
        ejected: hosts
          .filter(({ health_status: health }) => health.failed_outlier_check === true)
          .map(({ address: { socket_address: at } }) => `${at.address}:${at.port_value}`)
          .toSorted(),
        rates: hosts.map(({ success_rate: rate }) => (rate === undefined ? undefined : (rate.value ?? 0))),
      },
    ]),
  );
}
