import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import { Cluster } from "../../../../packages/engine/src/cluster/cluster.ts";
import type { ClusterConfig } from "../../../../packages/engine/src/config.ts";
import { MeshError } from "../../../../packages/engine/src/errors.ts";
import { RouteKey, compileHash } from "../../../../packages/engine/src/hash/call-key.ts";
import { State } from "../../../../packages/engine/src/state.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import { clusterType } from "../../../../packages/xds/src/resources/cluster.ts";
import { routeType } from "../../../../packages/xds/src/resources/route.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { observingListener } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { Capability } from "../../peer.ts";
import { dial } from "../dial.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { startEcho } from "../echo.ts";
import { exchange } from "../http1.ts";
import type { WireRequest } from "../http1.ts";
import { decodeOptions } from "../routes/ours.ts";
import { hashCase } from "./cases.ts";
import type { HashCase } from "./cases.ts";

const loopback = "127.0.0.1";
const requestsPerCase = 60;
const backends = 10;

/** The same clusters and hash policies into Envoy and into us: each request comes to the same endpoint (R46, R47). */
export const hashingRow: Capability = {
  name: "oracle: consistent hashing",
  limitMs: 180_000,
  async run(context) {
    const echoes = await Promise.all(Array.from({ length: backends }, () => startEcho(loopback)));
    const ports = echoes.map(({ port }) => port);
    const count = Math.ceil((context.requests * 0.1) / requestsPerCase);
    const cases = Array.from({ length: count }, (_, at) =>
      hashCase(new Chance(caseSeed(context.seed, 3_000_000 + at)), at, ports, requestsPerCase),
    );
    const routes = {
      name: "hashing",
      virtualHosts: [{ name: "all", domains: ["*"], routes: cases.map((each) => each.route) }],
    };
    context.progress(`${count} clusters that hash, ${requestsPerCase} requests each, seed ${context.seed}`);
    const differences: Difference[] = [];
    let compared = 0;
    try {
      const envoy = await startEnvoy(context, "hashing", {
        staticResources: {
          listeners: [observingListener("hashing", routes, [], ["%UPSTREAM_HOST%"])],
          clusters: cases.map((each) => each.cluster),
        },
      });
      try {
        const port = await envoy.listenerPort("hashing");
        const wires = cases.flatMap((each) => each.requests);
        const theirs = await exchange(() => dial(port), wires, context.signal);
        const config = routeType.decode(
          toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, routes)),
          decodeOptions,
        ).value;
        for (const [index, each] of cases.entries()) {
          const { action } = config.virtualHosts[0]!.routes[index]!;
          const ours = endpointOf(each, action.kind === "forward" ? action.hash : undefined);
          for (const [at, request] of each.requests.entries()) {
            const mine = ours(request);
            // Without a key both pick at random.
            if (mine === undefined) continue;
            compared++;
            const answer = theirs[index * requestsPerCase + at]!;
            const envoys = answer.headers.get("x-told-0") ?? `status ${answer.status}`;
            if (mine === envoys) continue;
            const { cluster, route } = each;
            differences.push({
              at: `case ${index}, request ${at}`,
              config: { cluster, route },
              request,
              ours: mine,
              envoys,
            });
          }
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await Promise.all(echoes.map((each) => each.close()));
    }
    return concluded(context, "requests", compared, differences);
  },
};

/** Our way: bytes → decoder → key and picker; `undefined` for a request without a key. */
function endpointOf(
  { cluster }: HashCase,
  policies: Parameters<typeof compileHash>[0],
): (request: WireRequest) => string | undefined {
  const env = { ...testEnv({ regex: compileRegex }), address: loopback };
  const decoded = clusterType.decode(toBinary(ClusterSchema, create(ClusterSchema, cluster)), decodeOptions).value;
  const compiled = new Cluster(decoded as ClusterConfig, env, new State());
  const plan = compileHash(policies, env, () => ({ value: 1 }))!;
  return ({ method, target: path, host: authority, headers }) => {
    const call = makeCall({ method, path, authority });
    for (const [name, value] of headers) call.headers.append(name, value);
    const key = new RouteKey(plan);
    call.key = key;
    if (!key.known(call)) return undefined;
    const picked = compiled.picker.pick(call);
    return picked instanceof MeshError ? picked.code : picked.config.address;
  };
}
