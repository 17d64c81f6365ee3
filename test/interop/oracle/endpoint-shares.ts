import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { Cluster } from "../../../packages/engine/src/cluster/cluster.ts";
import type { ClusterConfig } from "../../../packages/engine/src/config.ts";
import { MeshError } from "../../../packages/engine/src/errors.ts";
import { State } from "../../../packages/engine/src/state.ts";
import { makeCall } from "../../kit/call.ts";
import { testEnv } from "../../kit/env.ts";
import { chiSquare, chiSquareLimit } from "../../kit/statistics.ts";
import { observingListener } from "../envoy/observe.ts";
import type { Init } from "../envoy/observe.ts";
import { type BootstrapInit, startEnvoy } from "../envoy/process.ts";
import type { Context } from "../peer.ts";
import { dial } from "./dial.ts";
import { routeTo } from "./route-to.ts";
import type { Difference } from "./difference.ts";
import { exchange } from "./http1.ts";
import type { WireRequest, WireResponse } from "./http1.ts";

export const requestsPerCase = 400;
/** So many that our own counts are as good as the shares themselves. */
const picks = 100_000;
/** As with weights: Envoy's dice have no seed, and a row must not fail by itself. */
const deviations = 5;

export interface ShareCases {
  /** Of the row. */
  readonly name: string;
  /** Static ones, whose endpoints answer with an echo. */
  readonly clusters: readonly Init<typeof ClusterSchema>[];
  /** What else Envoy's bootstrap has. */
  readonly bootstrap?: BootstrapInit;
  /** The same cluster as our engine has it. */
  readonly ours: (cluster: Init<typeof ClusterSchema>) => ClusterConfig;
}

/** Which endpoints the requests to each cluster come to: in one Envoy, and with our picker. */
export async function compareShares(
  context: Context,
  { name, clusters, bootstrap = {}, ours }: ShareCases,
): Promise<Difference[]> {
  const routes = {
    name,
    virtualHosts: [{ name: "all", domains: ["*"], routes: clusters.map((cluster) => routeTo(cluster.name!)) }],
  };
  const { staticResources, ...rest } = bootstrap;
  const envoy = await startEnvoy(context, name, {
    ...rest,
    staticResources: {
      listeners: [observingListener(name, routes, [], ["%UPSTREAM_HOST%"])],
      clusters: [...clusters, ...(staticResources?.clusters ?? [])],
    },
  });
  const differences: Difference[] = [];
  try {
    const port = await envoy.listenerPort(name);
    for (const [at, cluster] of clusters.entries()) {
      const requests = Array.from({ length: requestsPerCase }, (): WireRequest => ({
        method: "GET",
        target: `/${cluster.name}/`,
        host: "a",
        headers: [],
      }));
      const answers = await exchange(() => dial(port), requests, context.signal);
      const theirs = tally(answers.map(endpointOf));
      const own = shares(ours(cluster), context.seed);
      if (alike(theirs, own)) continue;
      differences.push({ at: `case ${at}`, config: cluster, request: "", ours: [...own], envoys: [...theirs] });
    }
  } finally {
    await envoy.stop();
  }
  return differences;
}

/** Nobody: the answer is Envoy's own. */
function endpointOf({ status, headers }: WireResponse): string {
  return status === 200 ? (headers.get("x-told-0") ?? "?") : `status ${status}`;
}

function shares(config: ClusterConfig, seed: number): Map<string, number> {
  const { picker } = new Cluster(config, testEnv({ seed }), new State());
  const call = makeCall();
  return tally(
    Array.from({ length: picks }, () => {
      const picked = picker.pick(call);
      return picked instanceof MeshError ? `status ${picked.status}` : picked.config.address;
    }),
  );
}

function tally(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

function alike(theirs: ReadonlyMap<string, number>, ours: ReadonlyMap<string, number>): boolean {
  for (const key of theirs.keys()) if (!ours.has(key)) return false;
  const keys = [...ours.keys()];
  const statistic = chiSquare(
    keys.map((key) => theirs.get(key) ?? 0),
    keys.map((key) => ours.get(key)!),
  );
  return keys.length === 1 || statistic <= chiSquareLimit(keys.length - 1, deviations);
}
