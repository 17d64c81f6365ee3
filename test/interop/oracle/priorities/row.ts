import { connect } from "node:net";
import type { Socket } from "node:net";

import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { Cluster } from "../../../../packages/engine/src/cluster/cluster.ts";
import type { ClusterConfig } from "../../../../packages/engine/src/config.ts";
import { MeshError } from "../../../../packages/engine/src/errors.ts";
import { State } from "../../../../packages/engine/src/state.ts";
import { clusterType } from "../../../../packages/xds/src/resources/cluster.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { chiSquare, chiSquareLimit } from "../../../kit/statistics.ts";
import { duration, socketAddress } from "../../../kit/xds-resources.ts";
import { observingManager } from "../../envoy/observe.ts";
import type { Init } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Capability } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { exchange } from "../http1.ts";
import type { WireRequest, WireResponse } from "../http1.ts";
import { decodeOptions } from "../routes/ours.ts";
import { priorityCase } from "./cases.ts";

const loopback = "127.0.0.1";
const backends = 12;
const requestsPerCase = 400;
/** So many that our own counts are as good as the shares themselves. */
const picks = 100_000;
/** As with weights: Envoy's dice have no seed, and the row must not fail by itself. */
const deviations = 5;

/** Priorities, localities and panic with some endpoints down: every endpoint gets the same share in Envoy and with us. */
export const prioritiesRow: Capability = {
  name: "oracle: priorities and panic",
  limitMs: 180_000,
  async run(context) {
    const echoes = await Promise.all(Array.from({ length: backends }, () => startEcho(loopback)));
    const ports = echoes.map(({ port }) => port);
    const count = Math.ceil((context.requests * 0.2) / requestsPerCase);
    const clusters = Array.from({ length: count }, (_, at) =>
      priorityCase(new Chance(caseSeed(context.seed, 5_000_000 + at)), at, loopback, ports),
    );
    const routes = {
      name: "priorities",
      virtualHosts: [{ name: "all", domains: ["*"], routes: clusters.map(({ name }) => to(name!)) }],
    };
    context.progress(`${count} clusters with endpoints down, ${requestsPerCase} requests each, seed ${context.seed}`);
    const differences: Difference[] = [];
    try {
      const envoy = await startEnvoy(context, "priorities", {
        staticResources: {
          listeners: [
            {
              name: "priorities",
              address: socketAddress(loopback, 0),
              filterChains: [{ filters: [observingManager(routes, [], ["%UPSTREAM_HOST%"])] }],
            },
          ],
          clusters,
        },
      });
      try {
        const port = await envoy.listenerPort("priorities");
        for (const [at, cluster] of clusters.entries()) {
          const requests = Array.from({ length: requestsPerCase }, (): WireRequest => ({
            method: "GET",
            target: `/${cluster.name}/`,
            host: "a",
            headers: [],
          }));
          const answers = await exchange(() => dial(port), requests, context.signal);
          const theirs = tally(answers.map(endpointOf));
          const ours = shares(cluster, context.seed);
          if (alike(theirs, ours)) continue;
          differences.push({ at: `case ${at}`, config: cluster, request: "", ours: [...ours], envoys: [...theirs] });
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await Promise.all(echoes.map((each) => each.close()));
    }
    return concluded(context, "distributions", count, differences);
  },
};

type RouteInit = NonNullable<
  NonNullable<Parameters<typeof observingManager>[0]["virtualHosts"]>[number]["routes"]
>[number];

function to(cluster: string): RouteInit {
  return {
    match: { pathSpecifier: { case: "prefix", value: `/${cluster}/` } },
    action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: cluster }, timeout: duration(0) } },
  };
}

/** Nobody: the answer is Envoy's own. */
function endpointOf({ status, headers }: WireResponse): string {
  return status === 200 ? (headers.get("x-told-0") ?? "?") : `status ${status}`;
}

/** Our way: bytes → decoder → picker. */
function shares(cluster: Init<typeof ClusterSchema>, seed: number): Map<string, number> {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, cluster));
  const decoded = clusterType.decode(bytes, decodeOptions).value as ClusterConfig;
  const { picker } = new Cluster(decoded, testEnv({ seed }), new State());
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

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: loopback, port, noDelay: true }, () => resolve(socket));
    socket.once("error", reject);
  });
}
