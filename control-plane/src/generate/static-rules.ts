import type { HashKey } from "../model/balancer.ts";
import { type DestinationPolicy, effectiveTraffic } from "../model/destination.ts";
import { type Model, destinationPolicy, serviceOf } from "../model/model.ts";
import { type RouteTable, type Rule, type RuleMatch, type Target, applies, destinationPort } from "../model/route.ts";
import type { NodeView } from "../snapshot.ts";

/** A rule with those of its matches that exist for this port and caller, and its destinations' ports filled in. */
export interface StaticRule {
  readonly rule: Rule;
  /** Empty: every request. */
  readonly matches: readonly RuleMatch[];
  /** In the order of the rule's destinations. */
  readonly ports: readonly number[];
  /** In the order of its mirrors. */
  readonly mirrorPorts: readonly number[];
  /** What the balancers of the destinations go by. */
  readonly hash: readonly HashKey[];
}

/** What of a model tells who a destination is. */
export type Directory = Pick<Model, "mesh" | "services" | "destinations" | "selecting">;

/** What can be decided now: the port called and the caller are known. Rules of which no match is left do not exist. */
export function staticRules(model: Model, node: NodeView, table: RouteTable, port: number): readonly StaticRule[] {
  return table.rules.flatMap((rule): StaticRule[] => {
    const matches = rule.matches.filter((match) => applies(match, node, port));
    if (matches.length === 0 && rule.matches.length > 0) return [];
    const ports = rule.destinations.map((destination) => portOf(model, node, destination, port));
    const hash = rule.destinations.flatMap(({ host, subset }, at) =>
      hashKeys(policyOf(model, node, host), subset, ports[at] ?? port),
    );
    // Only the match on port or caller was there, and it holds: every request.
    const mirrorPorts = rule.mirrors.map((mirror) => portOf(model, node, mirror, port));
    return [{ rule, matches, ports, mirrorPorts, hash }];
  });
}

export function policyOf(model: Directory, node: NodeView, host: string): DestinationPolicy | undefined {
  const service = serviceOf(model, node.namespace, host);
  return service && destinationPolicy(model, service, node);
}

/** What the balancer of a destination goes by, for the route that leads there. */
export function hashKeys(policy: DestinationPolicy | undefined, subset: string, port: number): readonly HashKey[] {
  const { balancer } = effectiveTraffic(policy, subset, port);
  return balancer?.kind === "hash" ? [balancer.key] : [];
}

/** The port of a destination when `called` is the one called. */
export function portOf(model: Directory, node: NodeView, { host, port }: Target, called: number): number {
  const service = serviceOf(model, node.namespace, host);
  return (service === undefined ? undefined : destinationPort(service, port, called)) ?? called;
}

/** Whether the rules are the same for all callers of a namespace. */
export function sameForAll(table: RouteTable | undefined): boolean {
  if (table === undefined) return true;
  const rules = [...table.rules, ...table.tls, ...table.tcp];
  return rules.every(({ matches }) => matches.every(({ sourceLabels }) => isEmpty(sourceLabels)));
}

function isEmpty(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(labels).length === 0;
}
