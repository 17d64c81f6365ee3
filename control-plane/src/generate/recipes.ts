import { isIP } from "node:net";

import { typeUrls } from "@trama/proto";

import { mtlsMode } from "../model/access.ts";
import { type Model, destinationPolicy, peerPolicies } from "../model/model.ts";
import { type Destination, type RouteTable, type RuleMatch, destinationPort } from "../model/route.ts";
import { type Service, hasLabels, socketAddress } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import type { Recipe } from "./cache.ts";
import { cluster } from "./clusters.ts";
import { assignment } from "./endpoints.ts";
import { inboundListener, outboundListener } from "./listeners.ts";
import { clusterName, fullNames, readAuthority, readClusterName, readInboundName } from "./names.ts";
import { type StaticRule, routes } from "./routes.ts";

type Maker = (model: Model, node: NodeView, name: string) => Recipe | undefined;

const makers: Readonly<Record<string, Maker>> = {
  [typeUrls.listener]: (model, node, name) => inbound(model, node, name) ?? outbound(model, node, name),
  [typeUrls.routeConfiguration]: routeConfiguration,
  [typeUrls.cluster]: clusterOf,
  [typeUrls.clusterLoadAssignment]: endpointsOf,
};

/**
 * What a name means to a node. `undefined`: nothing, or nothing that it may see; nobody can tell which (S34). Envoy gets
 * nothing yet: its listeners and secrets have other shapes, and half of them would be plaintext by accident.
 */
export function recipe(model: Model, node: NodeView, typeUrl: string, name: string): Recipe | undefined {
  if (node.kind === "envoy") return undefined;
  return makers[typeUrl]?.(model, node, name);
}

/**
 * The parts of a model that the recipes of a type look at, for what all nodes of a namespace share: while these are the same,
 * so are the answers.
 */
export function basis(model: Model, typeUrl: string): readonly unknown[] {
  const { services, routes: tables, destinations, endpoints, peers } = model;
  if (typeUrl === typeUrls.listener) return [services];
  if (typeUrl === typeUrls.routeConfiguration) return [services, tables];
  return [services, destinations, endpoints, peers];
}

/** Every full name of a type that a node can ask for. */
export function* allNames(model: Model, node: NodeView, typeUrl: string): Iterable<string> {
  if (node.kind === "envoy") return;
  for (const host of model.services.hosts()) {
    const service = model.services.find(host, node.namespace);
    if (service === undefined) continue;
    const subsets = destinationPolicy(model, service, node.namespace)?.subsets.map(({ name }) => name) ?? [];
    for (const { number: port } of service.ports) {
      if (typeUrl === typeUrls.listener) yield `${host}:${port}`;
      else if (typeUrl === typeUrls.routeConfiguration) yield clusterName({ port, subset: "", host });
      else if (typeUrl === typeUrls.cluster || typeUrl === typeUrls.clusterLoadAssignment) {
        for (const subset of ["", ...subsets]) yield clusterName({ port, subset, host });
      }
    }
  }
}

function outbound(model: Model, node: NodeView, name: string): Recipe | undefined {
  const asked = readAuthority(name);
  if (asked === undefined) return undefined;
  for (const host of fullNames(model.mesh, asked.host, node.namespace)) {
    const service = model.services.find(host, node.namespace);
    if (service === undefined) continue;
    if (!service.ports.some(({ number }) => number === asked.port)) return undefined;
    const routeName = clusterName({ port: asked.port, subset: "", host });
    return { variant: routeName, inputs: [], shared: true, make: () => outboundListener(name, routeName) };
  }
  return undefined;
}

function routeConfiguration(model: Model, node: NodeView, name: string): Recipe | undefined {
  const target = find(model, node, name);
  if (target === undefined || target.subset !== "") return undefined;
  const { service, port } = target;
  const { mesh } = model;
  const { namespace } = node;
  const table = model.routes.find(service.host, namespace);
  const rules = table === undefined ? [] : staticRules(model, node, table, port.number);
  return {
    // Which rules and matches there are for this caller, and which ports their destinations mean.
    variant: JSON.stringify(rules.map((rule) => staticChoice(table, rule))),
    inputs: [service, table],
    shared: table?.rules.every(({ matches }) => matches.every(({ sourceLabels }) => isEmpty(sourceLabels))) ?? true,
    make: () => routes({ mesh, service, port: port.number, namespace, rules }),
  };
}

/** A rule by its place in the table, its matches by their place in the rule. */
function staticChoice(table: RouteTable | undefined, { rule, matches, ports }: StaticRule): readonly unknown[] {
  return [table?.rules.indexOf(rule), matches.map((match) => rule.matches.indexOf(match)), ports];
}

/** What can be decided now: the port called and the caller are known. Rules of which no match is left do not exist. */
function staticRules(model: Model, node: NodeView, table: RouteTable, port: number): readonly StaticRule[] {
  return table.rules.flatMap((rule): StaticRule[] => {
    const matches = rule.matches.filter((match) => applies(match, node, port));
    if (matches.length === 0 && rule.matches.length > 0) return [];
    const ports = rule.destinations.map((destination) => portOf(model, node, destination, port));
    // Only the match on port or caller was there, and it holds: every request.
    return [{ rule, matches, ports }];
  });
}

function applies(match: RuleMatch, node: NodeView, port: number): boolean {
  return (
    (match.port === undefined || match.port === port) &&
    (match.sourceNamespace === undefined || match.sourceNamespace === node.namespace) &&
    hasLabels(node.labels, match.sourceLabels)
  );
}

function portOf(model: Model, node: NodeView, { host, port }: Destination, called: number): number {
  const service = model.services.find(host, node.namespace);
  return (service === undefined ? undefined : destinationPort(service, port, called)) ?? called;
}

function clusterOf(model: Model, node: NodeView, name: string): Recipe | undefined {
  const target = find(model, node, name);
  if (target === undefined) return undefined;
  const { service, port, policy, subset } = target;
  const endpoints = model.endpoints.get(service) ?? [];
  const { mesh } = model;
  const { kind } = node;
  return {
    variant: "",
    inputs: [service, policy, endpoints],
    shared: true,
    make: () => cluster({ mesh, service, port, policy, subset, endpoints, kind }),
  };
}

function endpointsOf(model: Model, node: NodeView, name: string): Recipe | undefined {
  const target = find(model, node, name);
  if (target === undefined) return undefined;
  const { service, port, policy } = target;
  const endpoints = model.endpoints.get(service) ?? [];
  // All endpoints of a service are in the namespace of its entry.
  const peers = peerPolicies(model, endpoints[0]?.namespace ?? service.namespace);
  const subset = policy?.subsets.find((each) => each.name === target.subset)?.labels;
  return {
    variant: "",
    inputs: [service, endpoints, subset, peers.namespace, peers.root],
    shared: true,
    make: () => assignment({ name, port, endpoints, subset: subset ?? {}, peers }),
  };
}

interface Target {
  readonly service: Service;
  readonly port: Service["ports"][number];
  readonly policy: ReturnType<typeof destinationPolicy>;
  readonly subset: string;
}

/** What `outbound|port|subset|host` stands for, if the node can see it. */
function find(model: Model, node: NodeView, name: string): Target | undefined {
  const id = readClusterName(name);
  if (id === undefined) return undefined;
  const service = model.services.find(id.host, node.namespace);
  const port = service?.ports.find(({ number }) => number === id.port);
  if (service === undefined || port === undefined) return undefined;
  const policy = destinationPolicy(model, service, node.namespace);
  const exists = id.subset === "" || policy?.subsets.some((subset) => subset.name === id.subset) === true;
  return exists ? { service, port, policy, subset: id.subset } : undefined;
}

/** For its own addresses only; the policy is that of its namespace and labels. */
function inbound(model: Model, node: NodeView, name: string): Recipe | undefined {
  const asked = readInboundName(name);
  if (asked === undefined || !mayListen(node, asked.address)) return undefined;
  const { address, port } = asked;
  const { mesh, access } = model;
  const { namespace, labels, kind } = node;
  const mode = mtlsMode(peerPolicies(model, namespace), labels, port);
  const layers = new Set([mesh.rootNamespace, namespace]);
  const policies = [...layers].flatMap((layer) =>
    (access.get(layer) ?? []).filter((policy) => hasLabels(labels, policy.selector)),
  );
  const services = servicesBehind(model, node, address, port);
  return {
    variant: mode,
    inputs: [...policies, ...services],
    shared: false,
    make: () => inboundListener({ mesh, name, address, port, mode, policies, services, kind }),
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

function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function servicesBehind(model: Model, node: NodeView, address: string, port: number): readonly Service[] {
  const addresses = isUnspecified(address) ? node.addresses : [address];
  const found = addresses.flatMap((each) => model.behind.get(socketAddress(each, port)) ?? []);
  return [...new Set(found)]
    .filter((service) => service.namespace === node.namespace)
    .sort((a, b) => (a.host < b.host ? -1 : 1));
}

function isEmpty(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(labels).length === 0;
}
