import { Cluster_DiscoveryType } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import { assignment, corsFilter, duration, faultFilter } from "../../../kit/xds-resources.ts";
import { observingListener, toldBy } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Context } from "../../peer.ts";
import type { Seen } from "../echo.ts";
import { dial } from "../dial.ts";
import { exchange } from "../http1.ts";
import type { WireRequest, WireResponse } from "../http1.ts";
import type { RoutesInit } from "./table.ts";
import { answerLines, answered, headerLines } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

const loopback = "127.0.0.1";

export interface EnvoyRoutes {
  judge(table: string, requests: readonly WireRequest[]): Promise<Verdict[]>;
  stop(): Promise<void>;
}

/** Envoy's way: each table is a listener of one Envoy, every cluster leads to the same backend. */
export async function envoyRoutes(
  context: Context,
  tables: readonly RoutesInit[],
  clusters: readonly string[],
  backendPort: number,
): Promise<EnvoyRoutes> {
  const envoy = await startEnvoy(context, "routes", {
    staticResources: {
      listeners: tables.map((table) =>
        observingListener(table.name!, table, [faultFilter as never, corsFilter as never]),
      ),
      clusters: clusters.map((name) => ({
        name,
        clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
        connectTimeout: duration(5_000),
        loadAssignment: assignment(name, [{ address: loopback, port: backendPort }]),
      })),
    },
  });
  return {
    stop: () => envoy.stop(),
    async judge(table, requests) {
      const port = await envoy.listenerPort(table);
      const responses = await exchange(() => dial(port), requests, context.signal);
      return responses.map(verdictOf);
    },
  };
}

/** What every hop adds, and nothing that a route decides about. */
const hop = /^(?:x-forwarded-proto|content-length): /;

function verdictOf(response: WireResponse): Verdict {
  const { details, route, cluster } = toldBy(response);
  const answer = answerLines([...response.headers].flat());
  switch (details) {
    case "via_upstream": {
      const { method, target, host, headers } = JSON.parse(response.body) as Seen;
      const lines = headerLines(headers).filter((line) => !hop.test(line));
      return { kind: "forwarded", route, cluster, method, target, host, headers: lines, answer };
    }
    case "route_not_found":
      return { kind: "no route" };
    case "cluster_not_found":
      return { kind: "no cluster", route };
    case "direct_response":
    case "fault_filter_abort":
      return answered(route, response.status, response.body, answer);
    case "":
      // What its CORS filter answers passes by everything that could say so.
      if (response.status === 200 && response.body === "") return answered("", 200, "", answer);
      return { kind: "odd", text: `${response.status}` };
    default:
      return { kind: "odd", text: `${response.status} ${details}` };
  }
}
