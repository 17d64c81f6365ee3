import { isIP } from "node:net";

import { typeUrls } from "@trama/proto";

import {
  type Model,
  destinationPolicy,
  endpointsBehind,
  peerPolicies,
  viewOf,
  visibleService,
} from "../model/model.ts";
import { type RouteTable, isAlwaysOpaque } from "../model/route.ts";
import { effectiveTraffic } from "../model/destination.ts";
import { type Endpoint, type Service, type ServicePort, isPipe, labelsKey } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import type { Recipe } from "./cache.ts";
import { cluster } from "./clusters.ts";
import { connectionListener } from "./connection-chains.ts";
import { connections, hasConnections, isOpaqueTo, tableOf } from "./connections.ts";
import { assignment } from "./endpoints.ts";
import { looksAtCallers, placing } from "./locality.ts";
import { inboundListener, outboundListener } from "./listeners.ts";
import { blockAll, blockAllName } from "./block-all.ts";
import { envoyNames, envoyRecipe } from "./envoy/recipes.ts";
import { localCluster, localClusterName } from "./own-cluster.ts";
import { acrossNetworks, meshTls } from "./networks.ts";
import { clusterName, fullNames, readAuthority, readInboundName } from "./names.ts";
import { isUnspecified, ownPort } from "./own-port.ts";
import { ownCors } from "./server-hosts.ts";
import { routes } from "./routes.ts";
import { type StaticRule, hashKeys, sameForAll, staticRules } from "./static-rules.ts";
import { type Target, find } from "./target.ts";

type Maker = (model: Model, node: NodeView, name: string) => Recipe | undefined;

const sharedMakers: Readonly<Record<string, Maker>> = {
  [typeUrls.cluster]: clusterOf,
  [typeUrls.clusterLoadAssignment]: endpointsOf,
};

const makers: Readonly<Record<string, Maker>> = {
  ...sharedMakers,
  [typeUrls.listener]: (model, node, name) => inbound(model, node, name) ?? outbound(model, node, name),
  [typeUrls.routeConfiguration]: routeConfiguration,
};

/**
 * What a name means to a node. `undefined`: nothing, or nothing that it may see; nobody can tell which (S34). Envoy has
 * listeners, routes and secrets of its own; clusters outside of it and endpoints are the same for all, but for their form.
 */
export function recipe(model: Model, node: NodeView, typeUrl: string, name: string): Recipe | undefined {
  if (node.kind !== "envoy") return makers[typeUrl]?.(model, node, name);
  // Without its settings, its TLS contexts would name what it does not have.
  if (node.proxy === undefined) return undefined;
  return envoyRecipe(model, node, node.proxy, typeUrl, name) ?? sharedMakers[typeUrl]?.(model, node, name);
}

/**
 * The parts of a model that the recipes of a type look at, for what all nodes of a namespace share: while these are the same,
 * so are the answers.
 */
export function basis(model: Model, typeUrl: string): readonly unknown[] {
  const { services, routes: tables, destinations, selecting, endpoints, peers, scopes } = model;
  const some = hasConnections(model);
  if (typeUrl === typeUrls.listener)
    return some ? [services, tables, scopes, destinations, selecting] : [services, scopes];
  if (typeUrl === typeUrls.routeConfiguration) return [services, tables, scopes, destinations, selecting];
  const all = [services, destinations, selecting, endpoints, peers];
  // What is opaque has other clusters.
  return some && typeUrl === typeUrls.cluster ? [...all, tables] : all;
}

/** Every full name of a type that a node can ask for. */
export function* allNames(model: Model, node: NodeView, typeUrl: string): Iterable<string> {
  if (node.kind === "envoy") yield* envoyNames(model, node, typeUrl);
  for (const host of model.services.hosts()) {
    const service = visibleService(model, node, host);
    if (service === undefined) continue;
    const subsets = destinationPolicy(model, service, node)?.subsets.map(({ name }) => name) ?? [];
    for (const each of service.ports) {
      const { number: port } = each;
      const opaque = isOpaqueTo(model, node, service, each);
      if (opaque && node.kind === "grpc") continue;
      if (typeUrl === typeUrls.listener && node.kind !== "envoy") yield `${host}:${port}`;
      else if (typeUrl === typeUrls.routeConfiguration && node.kind !== "envoy") {
        if (!opaque) yield clusterName({ port, subset: "", host });
      } else if (typeUrl === typeUrls.cluster || typeUrl === typeUrls.clusterLoadAssignment) {
        if (typeUrl === typeUrls.clusterLoadAssignment && service.resolution !== "static") continue;
        for (const subset of ["", ...subsets]) yield clusterName({ port, subset, host });
      }
    }
  }
}

function outbound(model: Model, node: NodeView, name: string): Recipe | undefined {
  const asked = readAuthority(name);
  if (asked === undefined) return undefined;
  for (const host of fullNames(model.mesh, asked.host, node.namespace)) {
    const service = visibleService(model, node, host);
    if (service === undefined) continue;
    const port = service.ports.find(({ number }) => number === asked.port);
    if (port === undefined) break;
    if (isOpaqueTo(model, node, service, port)) return connection(model, node, name, service, port);
    const routeName = clusterName({ port: asked.port, subset: "", host });
    return {
      variant: routeName,
      inputs: [],
      shared: opaqueForAllOrNone(model, node, service, port),
      make: () => outboundListener(name, routeName, node.kind),
    };
  }
  // Whoever is told that a host does not exist passes it on as it is; one that must not is told otherwise. gRPC has no such way out.
  if (node.kind !== "trama" || viewOf(model, node)?.unknownHosts !== "refuse") return undefined;
  return {
    variant: blockAllName,
    inputs: [],
    shared: true,
    make: () => outboundListener(name, blockAllName, node.kind),
  };
}

/** Whether a port is the same to all callers of a namespace. */
function opaqueForAllOrNone(model: Model, node: NodeView, service: Service, port: ServicePort): boolean {
  return port.protocol !== "https" || sameForAll(tableOf(model, node, service));
}

/** gRPC's libraries make calls, not connections: for them such a port is not there. */
function connection(
  model: Model,
  node: NodeView,
  name: string,
  service: Service,
  port: ServicePort,
): Recipe | undefined {
  if (node.kind === "grpc") return undefined;
  const found = connections(model, node, service, port);
  const shared = sameForAll(tableOf(model, node, service)) && !model.selecting.has(node.namespace);
  return {
    variant: `connections ${shared ? "" : labelsKey(node.labels)}`,
    inputs: [JSON.stringify(found)],
    shared,
    make: () => connectionListener(name, found),
  };
}

function routeConfiguration(model: Model, node: NodeView, name: string): Recipe | undefined {
  if (name === blockAllName) return { variant: "", inputs: [], shared: true, make: blockAll };
  const target = find(model, node, name);
  if (target === undefined || target.subset !== "" || target.opaque) return undefined;
  const { service, port, policy } = target;
  const { mesh } = model;
  const { namespace, kind } = node;
  const table = tableOf(model, node, service);
  const rules = table === undefined ? [] : staticRules(model, node, table, port.number);
  const hash = hashKeys(policy, "", port.number);
  return {
    // Which rules and matches there are for this caller, which ports their destinations mean, and what those go by.
    variant: JSON.stringify([hash, ...rules.map((rule) => staticChoice(table, rule))]),
    inputs: [service, table],
    shared: sameForAll(table) && !model.selecting.has(namespace),
    make: () => routes({ mesh, service, port: port.number, namespace, rules, hash, kind }),
  };
}

/** A rule by its place in the table, its matches by their place in the rule. */
function staticChoice(
  table: RouteTable | undefined,
  { rule, matches, ports, mirrorPorts, hash }: StaticRule,
): readonly unknown[] {
  return [table?.rules.indexOf(rule), matches.map((match) => rule.matches.indexOf(match)), ports, mirrorPorts, hash];
}

function clusterOf(model: Model, node: NodeView, name: string): Recipe | undefined {
  const target = find(model, node, name);
  if (target === undefined) return undefined;
  const { service, port, opaque, policy, subset, passes } = target;
  const endpoints = endpointsBehind(model, service);
  const { mesh } = model;
  const { kind, proxy } = node;
  if (kind === "grpc" && !reachedByGrpc(target, endpoints)) return undefined;
  const peers = peerPolicies(model, endpoints[0]?.namespace ?? service.namespace);
  const traffic = service.resolution === "dns" && !passes ? effectiveTraffic(policy, subset, port.number) : {};
  const placed = placing(traffic, node);
  return {
    variant: `${opaque ? "opaque " : ""}${policyVariant(model, node, policy)}${placed?.key ?? ""}`,
    inputs: [service, policy, endpoints, peers.namespace, peers.root],
    shared:
      placed === undefined &&
      !looksAtCallers(traffic) &&
      !model.selecting.has(node.namespace) &&
      opaqueForAllOrNone(model, node, service, port),
    make: () => cluster({ mesh, ...target, endpoints, kind, proxy, peers, placing: placed }),
  };
}

function endpointsOf(model: Model, node: NodeView, name: string): Recipe | undefined {
  if (name === localClusterName) return localCluster(model, node);
  const target = find(model, node, name);
  // Others stand in the cluster itself, as names.
  if (target?.service.resolution !== "static" || target.passes) return undefined;
  const { service, port, policy } = target;
  if (node.kind === "grpc" && isAlwaysOpaque(port)) return undefined;
  const endpoints = endpointsBehind(model, service);
  // All endpoints of a service are in the namespace of its entry.
  const peers = peerPolicies(model, endpoints[0]?.namespace ?? service.namespace);
  const subset = policy?.subsets.find((each) => each.name === target.subset)?.labels;
  // gRPC's libraries would refuse all of it for one address that is no IP address (gRFC A27).
  const reachable = node.kind === "grpc" ? endpoints.filter(({ address }) => !isPipe(address)) : endpoints;
  const traffic = effectiveTraffic(policy, target.subset, port.number);
  const near = placing(traffic, node);
  const secured = () => meshTls(target, traffic, endpoints, node.kind);
  const placed = acrossNetworks(near, { mesh: model.mesh, node, port, endpoints, peers, secured });
  return {
    // The same for all callers of a class: of a zone, mostly, and of a network.
    variant: policyVariant(model, node, policy) + (placed?.key ?? ""),
    inputs: [
      service,
      endpoints,
      subset,
      peers.namespace,
      peers.root,
      ...(placed === undefined ? [] : [traffic.locality]),
    ],
    // A policy that looks at callers may say the same to some of them and not to others.
    shared: placed === undefined && !looksAtCallers(traffic) && !model.selecting.has(node.namespace),
    make: () => assignment({ name, port, endpoints: reachable, subset: subset ?? {}, peers, placing: placed }),
  };
}

/** Where callers of one namespace may follow different rules, each rule has a resource of its own. */
function policyVariant(model: Model, node: NodeView, policy: Target["policy"]): string {
  return model.selecting.has(node.namespace) && policy !== undefined ? `${policy.namespace}/${policy.name}` : "";
}

/**
 * gRPC libraries look up one name a cluster, and have no certificates from files (gRFC A29, A37). What they cannot do does not exist for
 * them, and is never done without TLS.
 */
function reachedByGrpc(
  { service, port, opaque, policy, subset, passes }: Target,
  endpoints: readonly Endpoint[],
): boolean {
  const tls = effectiveTraffic(policy, subset, port.number).tls?.mode;
  return (
    !opaque &&
    tls !== "server" &&
    (port.protocol !== "https" || tls === "mesh") &&
    (service.resolution === "static" || passes || endpoints.length === 1)
  );
}

/** For its own addresses only; the policy is that of its namespace and labels. */
function inbound(model: Model, node: NodeView, name: string): Recipe | undefined {
  const asked = readInboundName(name);
  if (asked === undefined || !mayListen(node, asked.address)) return undefined;
  const { address, port } = asked;
  const { mesh } = model;
  const { kind } = node;
  const own = ownPort(model, node, address, port);
  const { mode, policies, services, opaque, limits } = own;
  const cors = kind === "grpc" || opaque ? [] : ownCors(model, node, port, services);
  return {
    // Which services there are is a matter of the network where addresses are there twice.
    variant: `${node.network ?? ""} ${mode} ${opaque ? "opaque " : ""}${JSON.stringify(cors.map(({ ports }) => ports))}`,
    inputs: [...policies, ...services, limits, ...cors.map(({ table }) => table)],
    shared: false,
    make: () => inboundListener({ mesh, name, address, port, ...own, cors, kind }),
  };
}

/** Own addresses, and those that every machine has. A node that does not tell its addresses is taken at its word. */
function mayListen({ addresses }: NodeView, address: string): boolean {
  if (isIP(address) === 0) return false;
  return (
    addresses.length === 0 ||
    addresses.includes(address) ||
    isUnspecified(address) ||
    address.startsWith("127.") ||
    address === "::1"
  );
}
