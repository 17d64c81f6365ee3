import type { Diagnostic } from "../../diagnostics.ts";
import { covers, getOrMake } from "../../model/host-index.ts";
import { type Model, destinationPolicy, hostsOf } from "../../model/model.ts";
import { type RouteTable, destinationPort } from "../../model/route.ts";
import type { Service } from "../../model/service.ts";
import { anyNamespace, isVisible } from "../../model/visibility.ts";
import { nearest } from "../../sources/names.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import { translateTarget } from "../istio/virtual-service.ts";
import type { Subject } from "./subject.ts";
import { type Claim, checkClaims } from "./claims.ts";
import { checkConnectionRules } from "./connection-rules.ts";
import { checkDelegates } from "./delegates.ts";
import { type Lead, comesTo, kindProblem, leadsOf } from "./leads.ts";
import { adviseRules } from "./rule-advice.ts";

type VirtualService = ConfigObject<"VirtualService">;

/** VirtualServices: their hosts exist, and every destination exists for every caller who may come to it. */
export function* checkRoutes({ model, translator, all }: Subject): Iterable<Diagnostic> {
  const objects = all("VirtualService");
  const tables = objects.map((object) => ({ object, table: translator.routeTable(object.content) }));
  yield* checkClaims(
    tables.flatMap(({ object, table }): Claim[] =>
      table.hosts.map((host, index) => ({ object, host, index, visible: table.visible })),
    ),
  );
  const rules = indexRules(model);
  yield* checkDelegates(objects, translator);
  const placeOf = new Map(objects.map((object) => [object.content, object]));
  for (const { object, table } of tables) {
    const served = table.hosts.map((host) => hostsOf(model, host));
    for (const [index, host] of table.hosts.entries()) {
      if (served[index]?.length === 0) {
        const field = `spec.hosts[${index}]`;
        yield object.error("reference", ["spec", "hosts", index], `${field}: ${unknownHost(model, host)}`);
      }
    }
    const owners = [object.content, ...translator.rules(object.content).map(({ owner }) => owner)];
    for (const owner of new Set(owners))
      yield* checkDestinations(model, placeOf.get(owner) ?? object, table, [...new Set(served.flat())], rules);
    yield* checkOrder(object);
    yield* checkConnectionRules(
      object,
      table,
      served.flat().flatMap((host) => model.services.all(host)),
    );
    yield* adviseRules(object);
  }
}

function unknownHost(model: Model, host: string): string {
  const meant = nearest(host, model.services.hosts());
  const hint = meant === undefined ? "declare it with a ServiceEntry" : `did you mean ${meant}?`;
  return `no service has the host ${host}: ${hint}`;
}

/** For each caller that can make a difference: the first thing that is missing for it. */
function* checkDestinations(
  model: Model,
  object: VirtualService,
  table: RouteTable,
  served: readonly string[],
  rules: RuleIndex,
): Iterable<Diagnostic> {
  for (const lead of leadsOf(object.content)) {
    const problem = problemOf(model, table, served, lead, object.content.namespace, rules);
    if (problem === undefined) continue;
    const path = [...lead.path, problem.field];
    yield object.error("reference", path, `${fieldPath(path)}: ${problem.text}`);
  }
}

interface Problem {
  readonly field: "host" | "subset" | "port";
  readonly text: string;
}

function problemOf(
  model: Model,
  table: RouteTable,
  served: readonly string[],
  lead: Lead,
  namespace: string,
  rules: RuleIndex,
): Problem | undefined {
  const { host, subset, port } = translateTarget(lead.destination, namespace, model.mesh);
  const known = model.services.all(host);
  if (known.length === 0) return { field: "host", text: unknownHost(model, host) };
  for (const called of served) {
    for (const caller of callers(model, table, rules, [called, host])) {
      const front = model.services.find(called, caller);
      // Who does not see the host, or follows another table, never comes here.
      if (front === undefined || model.routes.find(called, caller) !== table) continue;
      const service = model.services.find(host, caller);
      if (service === undefined) {
        return {
          field: "host",
          text: `${host} is hidden from ${who(caller)} by its exportTo: export both to the same namespaces`,
        };
      }
      for (const each of front.ports) {
        if (!comesTo(lead, each, table, caller)) continue;
        const number = destinationPort(service, port, each.number);
        const to = service.ports.find((one) => one.number === number);
        if (to === undefined) return portProblem(service, port, each.number);
        const text = kindProblem(model, lead, service, to, caller);
        if (text !== undefined) return { field: "port", text };
      }
      if (subset !== "" && !hasSubset(model, service, subset, caller))
        return subsetProblem(model, service, subset, caller);
    }
  }
  return undefined;
}

function portProblem({ host, ports }: Service, wanted: number | undefined, called: number): Problem {
  const known = ports.map(({ number }) => number).join(", ");
  if (wanted !== undefined) return { field: "port", text: `${host} has no port ${wanted}: it has ${known}` };
  return {
    field: "port",
    text: `is needed: ${host} has several ports (${known}), and none is ${called}, the one called`,
  };
}

function hasSubset(model: Model, service: Service, subset: string, caller: string): boolean {
  return (
    destinationPolicy(model, service, { namespace: caller, labels: {} })?.subsets.some(
      ({ name }) => name === subset,
    ) === true
  );
}

function subsetProblem(model: Model, service: Service, subset: string, caller: string): Problem {
  const policy = destinationPolicy(model, service, { namespace: caller, labels: {} });
  if (policy === undefined) {
    return { field: "subset", text: `no DestinationRule for ${service.host} defines the subset ${subset}: write one` };
  }
  const names = policy.subsets.map(({ name }) => name);
  const meant = nearest(subset, names);
  const hint = meant === undefined ? `it has ${names.join(", ") || "none"}` : `did you mean ${meant}?`;
  const rule = `DestinationRule ${policy.namespace}/${policy.name}`;
  return { field: "subset", text: `${rule}, which decides for ${who(caller)}, has no subset ${subset}: ${hint}` };
}

function who(caller: string): string {
  return caller === anyNamespace ? "callers in other namespaces" : `callers in namespace ${caller}`;
}

/** The namespaces whose callers may see something of their own; all others see what the last one sees. */
function callers(model: Model, table: RouteTable, rules: RuleIndex, hosts: readonly string[]): ReadonlySet<string> {
  const found = new Set([table.namespace, ...table.visible.namespaces]);
  const add = (namespaces: Iterable<string>): void => {
    for (const namespace of namespaces) found.add(namespace);
  };
  for (const host of hosts) {
    for (const service of model.services.all(host)) add([service.namespace, ...service.visible.namespaces]);
    for (const other of model.routes.all(host)) add(other.visible.namespaces);
    add(rules(host));
  }
  found.add(anyNamespace);
  return new Set([...found].filter((namespace) => isVisible(table.visible, namespace)));
}

/** Host → the namespaces in which its DestinationRules may differ. */
type RuleIndex = (host: string) => readonly string[];

function indexRules({ destinations }: Model): RuleIndex {
  const exact = new Map<string, Set<string>>();
  const wildcards: { readonly host: string; readonly namespaces: readonly string[] }[] = [];
  const policies = [...destinations.values()].flatMap((index) => [...index.values()]);
  for (const { host, namespace, visible } of policies) {
    const namespaces = [namespace, ...visible.namespaces];
    if (host.startsWith("*")) wildcards.push({ host, namespaces });
    else for (const each of namespaces) getOrMake(exact, host, () => new Set<string>()).add(each);
  }
  return (host) => [
    ...(exact.get(host) ?? []),
    ...wildcards.filter((rule) => covers(rule.host, host)).flatMap((rule) => rule.namespaces),
  ];
}

/** What stands behind a rule that takes everything is never reached (0130 in Istio's analyzer). */
function* checkOrder(object: VirtualService): Iterable<Diagnostic> {
  const { http } = object.content.spec;
  // What a delegate takes of a rule is not known here.
  const last = http.findIndex(({ match, delegate }) => match.length === 0 && delegate === undefined);
  if (last === -1 || last === http.length - 1) return;
  const text = `spec.http[${last + 1}]: is never reached, since the rule before it in ${objectName(object.content)} takes every request: move or remove it`;
  yield object.warning("advice", ["spec", "http", last + 1], text);
}
