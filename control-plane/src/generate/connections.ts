import { effectiveTraffic } from "../model/destination.ts";
import { getOrMake } from "../model/host-index.ts";
import type { Model } from "../model/model.ts";
import { type ConnectionRule, type RouteTable, applies, isAlwaysOpaque, isOpaque } from "../model/route.ts";
import type { Service, ServicePort } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import { type ClusterName, clusterName } from "./names.ts";
import { type Directory, policyOf, portOf } from "./static-rules.ts";

/** The mesh's default of two retries on `connect-failure`: once bytes have gone out, nobody may send them again. */
export const connectAttempts = 3;

/** Where connections to an opaque port go that are made by one node. */
export interface Connections {
  /** Of the service that is called: what they are counted as. */
  readonly own: string;
  /** In order; no name is in two of them. */
  readonly byName: readonly NamedLead[];
  /** Of all others; `undefined`: they lead nowhere. */
  readonly rest: Lead | undefined;
}

export interface Lead {
  /** Clusters and shares of more than 0; one of them at least. */
  readonly clusters: readonly { readonly name: string; readonly weight: number }[];
  /** Of the first destination, as in Istio; 0 = for ever, `undefined` = an hour. */
  readonly silenceMs: number | undefined;
  /** A destination goes by who calls. */
  readonly bySource: boolean;
}

export interface NamedLead extends Lead {
  readonly serverNames: readonly string[];
}

type Known = Directory & Pick<Model, "routes">;

/** The table that a node follows for a service. */
export function tableOf(
  { routes }: Pick<Model, "routes">,
  { namespace }: NodeView,
  { host }: Service,
): RouteTable | undefined {
  return routes.find(host, namespace);
}

export function isOpaqueTo(model: Pick<Model, "routes">, node: NodeView, service: Service, port: ServicePort): boolean {
  // Of other ports the table has nothing to say.
  return isOpaque(port, port.protocol === "https" ? tableOf(model, node, service) : undefined, node);
}

/** Whether any port of the mesh can be opaque to anyone; found out once for each state of it. */
export function hasConnections({ services, routes }: Pick<Model, "services" | "routes">): boolean {
  const opaque = getOrMake(opaqueServices, services, () =>
    [...services.values()].some(({ ports }) => ports.some(isAlwaysOpaque)),
  );
  return opaque || getOrMake(leadingTables, routes, () => [...routes.values()].some(({ tls }) => tls.length > 0));
}

const opaqueServices = new WeakMap<Model["services"], boolean>();
const leadingTables = new WeakMap<Model["routes"], boolean>();

/**
 * By server name on ports of TLS (istio-api §2.9): of two rules for one name the earlier holds, and with rules that apply, a name that none of
 * them has leads nowhere. Else the first rule of `tcp` that applies. Without either, to the service itself.
 */
export function connections(model: Known, node: NodeView, service: Service, port: ServicePort): Connections {
  const table = tableOf(model, node, service);
  const own = clusterName({ port: port.number, subset: "", host: service.host });
  const lead = (rule: ConnectionRule): Lead => leadOf(model, node, rule, port.number);
  const itself = { host: service.host, subset: "", port: port.number, weight: 1 };
  const toService = (): Lead => lead({ matches: [], destinations: [itself] });
  if (port.protocol === "tcp") {
    const rule = table?.tcp.find(
      ({ matches }) => matches.length === 0 || matches.some((match) => applies(match, node, port.number)),
    );
    return { own, byName: [], rest: rule === undefined ? toService() : lead(rule) };
  }
  const byName: NamedLead[] = [];
  const taken = new Set<string>();
  for (const rule of table?.tls ?? [])
    for (const match of rule.matches) {
      if (!applies(match, node, port.number)) continue;
      const serverNames = match.serverNames.filter((name) => !taken.has(name));
      for (const name of serverNames) taken.add(name);
      if (serverNames.length > 0) byName.push({ serverNames, ...lead(rule) });
    }
  return { own, byName, rest: byName.length === 0 ? toService() : undefined };
}

/** A single destination gets everything; of several, who has no weight gets nothing, and has no place in the message. */
function leadOf(model: Known, node: NodeView, { destinations }: ConnectionRule, called: number): Lead {
  const found = destinations.map((destination) => ({
    ...destination,
    port: portOf(model, node, destination, called),
    weight: destinations.length === 1 ? 1 : destination.weight,
  }));
  const policies = found.map((each) => traffic(model, node, each));
  return {
    clusters: found.flatMap((each) => (each.weight > 0 ? [{ name: clusterName(each), weight: each.weight }] : [])),
    silenceMs: policies[0]?.pool?.silenceMs,
    bySource: policies.some(({ balancer }) => balancer?.kind === "hash" && balancer.key.kind === "source"),
  };
}

function traffic(model: Known, node: NodeView, { host, subset, port }: ClusterName) {
  return effectiveTraffic(policyOf(model, node, host), subset, port);
}

type ClusterSpecifier =
  | { readonly case: "cluster"; readonly value: string }
  | { readonly case: "weightedClusters"; readonly value: { clusters: { name: string; weight: number }[] } };

/** In the form that routes and TcpProxies have in common. */
export function clusterSpecifier({ clusters }: Lead): ClusterSpecifier {
  const [only] = clusters;
  return only !== undefined && clusters.length === 1
    ? { case: "cluster", value: only.name }
    : { case: "weightedClusters", value: { clusters: clusters.map((each) => ({ ...each })) } };
}
