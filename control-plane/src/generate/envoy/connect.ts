import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteSchema, VirtualHostSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { covers } from "../../model/host-index.ts";
import { defaultRetry } from "../../model/route.ts";
import { hashPolicies } from "../balancer.ts";
import { type Connections, type Lead, clusterSpecifier, connectAttempts } from "../connections.ts";
import { retryPolicy } from "../retries.ts";
import { durationOf } from "../wire.ts";

/** What Envoy's TcpProxy has where nothing is said; a route of requests would end after five minutes of silence. */
const silenceMs = 3_600_000;

/**
 * An opaque port behind the application's proxy, which reaches it by `CONNECT host:port`. Requests find no route here, and CONNECT finds none
 * anywhere else.
 */
export function connectHost(
  host: string,
  port: number,
  found: Connections,
  domains: readonly string[],
): MessageInitShape<typeof VirtualHostSchema> {
  const lead = leadTo(found, host);
  return {
    name: `${host}:${port}`,
    domains: [...domains],
    routes: lead === undefined ? [] : [connectRoute(lead)],
  };
}

/** The server name that the application will ask for is not known yet: the host that it connects to stands for it. */
function leadTo({ byName, rest }: Connections, host: string): Lead | undefined {
  let found: { readonly name: string; readonly lead: Lead } | undefined;
  for (const lead of byName)
    for (const name of lead.serverNames) {
      if (name === host) return lead;
      if (covers(name, host) && name.length > (found?.name.length ?? 0)) found = { name, lead };
    }
  return found?.lead ?? rest;
}

function connectRoute(lead: Lead): MessageInitShape<typeof RouteSchema> {
  const retry = { ...defaultRetry, retries: connectAttempts - 1, conditions: ["connect-failure"] };
  return {
    name: "connect",
    match: { pathSpecifier: { case: "connectMatcher", value: {} } },
    action: {
      case: "route",
      value: {
        clusterSpecifier: clusterSpecifier(lead),
        upgradeConfigs: [{ upgradeType: "CONNECT", connectConfig: {} }],
        hashPolicy: [...hashPolicies(lead.bySource ? [{ kind: "source" }] : [])],
        timeout: durationOf(0),
        idleTimeout: durationOf(lead.silenceMs ?? silenceMs),
        retryPolicy: retryPolicy(retry, lead.bySource),
      },
    },
  };
}
