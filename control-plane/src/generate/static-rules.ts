import type { HashKey } from "../model/balancer.ts";
import { type DestinationPolicy, effectiveTraffic } from "../model/destination.ts";
import { type Model, destinationPolicy, serviceOf } from "../model/model.ts";
import { type RouteTable, type Rule, type RuleMatch, type Target, destinationPort } from "../model/route.ts";
import { hasLabels } from "../model/service.ts";
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

function policyOf(model: Model, node: NodeView, host: string): DestinationPolicy | undefined {
  const service = serviceOf(model, node.namespace, host);
  return service && destinationPolicy(model, service, node);
}

/** What the balancer of a destination goes by, for the route that leads there. */
export function hashKeys(policy: DestinationPolicy | undefined, subset: string, port: number): readonly HashKey[] {
  const { balancer } = effectiveTraffic(policy, subset, port);
  return balancer?.kind === "hash" ? [balancer.key] : [];
}

function applies(match: RuleMatch, node: NodeView, port: number): boolean {
  return (
    match.inMesh &&
    (match.port === undefined || match.port === port) &&
    (match.sourceNamespace === undefined || match.sourceNamespace === node.namespace) &&
    hasLabels(node.labels, match.sourceLabels)
  );
}

function portOf(model: Model, node: NodeView, { host, port }: Target, called: number): number {
  const service = serviceOf(model, node.namespace, host);
  return (service === undefined ? undefined : destinationPort(service, port, called)) ?? called;
}

/** Whether the rules are the same for all callers of a namespace. */
export function sameForAll(table: RouteTable | undefined): boolean {
  return table?.rules.every(({ matches }) => matches.every(({ sourceLabels }) => isEmpty(sourceLabels))) ?? true;
}

function isEmpty(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(labels).length === 0;
}
