import type { Diagnostic } from "../../diagnostics.ts";
import type { DestinationPolicy } from "../../model/destination.ts";
import { hostsOf } from "../../model/model.ts";
import { type Endpoint, hasLabels, labelsKey } from "../../model/service.ts";
import type { TrafficPolicySpec } from "../../sources/istio/destination-rule.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import { nearest } from "../../sources/names.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import type { Subject } from "./subject.ts";
import { place } from "./duplicates.ts";
import { checkTrafficPorts } from "./traffic-ports.ts";

type DestinationRule = ConfigObject<"DestinationRule">;

/** DestinationRules: those of one namespace for one host can be joined, and they are about something that exists. */
export function* checkDestinations({ model, translator, all }: Subject): Iterable<Diagnostic> {
  const groups = new Map<string, DestinationRule[]>();
  for (const object of all("DestinationRule")) {
    const { namespace, host, selector } = translator.destination(object.content);
    const key = `${namespace}/${host} ${labelsKey(selector)}`;
    const group = groups.get(key) ?? [];
    groups.set(key, [...group, object]);
    for (const earlier of group) yield* checkJoin(earlier, object);
    yield* checkVerified(object);
    yield* checkOutliers(object);
    yield* checkBalancers(object, translator.destination(object.content));
    const served = hostsOf(model, host);
    if (served.length === 0) {
      const meant = nearest(host, model.services.hosts());
      const hint = meant === undefined ? "declare it with a ServiceEntry" : `did you mean ${meant}?`;
      yield object.warning("advice", ["spec", "host"], `spec.host: no service has the host ${host}: ${hint}`);
      continue;
    }
    const services = served.flatMap((name) => model.services.all(name));
    const endpoints = services.flatMap((each) => model.endpoints.get(each) ?? []);
    yield* checkTrafficPorts(
      object,
      policiesOf(object),
      services.flatMap(({ ports }) => ports),
    );
    yield* checkPools(object, served, endpoints);
    const whole = object.content.spec.trafficPolicy?.loadBalancer;
    for (const [index, subset] of object.content.spec.subsets.entries()) {
      if ((subset.trafficPolicy?.loadBalancer ?? whole)?.simple === "PASSTHROUGH") {
        const text = `spec.subsets[${index}].labels: choose nobody under PASSTHROUGH: calls to ${subset.name} go where the name leads`;
        yield object.warning("advice", ["spec", "subsets", index], text);
        continue;
      }
      if (endpoints.some((each) => hasLabels(each.labels, subset.labels))) continue;
      const text = `spec.subsets[${index}]: no endpoint of ${host} has these labels now: calls to ${subset.name} would fail`;
      yield object.warning("advice", ["spec", "subsets", index], text);
    }
  }
}

/** Old names, and a choice that nothing in the rule leaves room for. */
function* checkBalancers(object: DestinationRule, { traffic, subsets }: DestinationPolicy): Iterable<Diagnostic> {
  for (const { policy, at } of policiesOf(object)) {
    const places = [
      { block: policy?.loadBalancer, where: at },
      ...(policy?.portLevelSettings ?? []).map(({ loadBalancer }, index) => ({
        block: loadBalancer,
        where: [...at, "portLevelSettings", index],
      })),
    ];
    for (const { block, where } of places)
      for (const { path, instead } of block?.deprecated ?? []) {
        const full = [...where, "loadBalancer", ...path];
        yield object.warning("advice", full, `${fieldPath(full)}: is the old name: write ${instead}`);
      }
  }
  const byLatency = [traffic, ...subsets.map((subset) => subset.traffic)]
    .flatMap((each) => [each, ...each.ports.values()])
    .some(({ balancer }) => balancer?.kind === "peak_ewma");
  if (object.content.settings["trama.io/load-balancer"] === undefined || byLatency) return;
  const text =
    "trama.io/load-balancer: has no effect, for it takes the place of LEAST_REQUEST without warmup, and the rule has none";
  yield object.warning("advice", ["metadata", "annotations", "trama.io/load-balancer"], text);
}

/** Each policy of a rule, with the place of it and the labels of those that it is about. */
function policiesOf({ content: { spec } }: DestinationRule): readonly {
  readonly policy: TrafficPolicySpec | undefined;
  readonly at: readonly (string | number)[];
  readonly labels: Readonly<Record<string, string>>;
}[] {
  return [
    { policy: spec.trafficPolicy, at: ["spec", "trafficPolicy"], labels: {} },
    ...spec.subsets.map(({ trafficPolicy, labels }, index) => ({
      policy: trafficPolicy,
      at: ["spec", "subsets", index, "trafficPolicy"],
      labels,
    })),
  ];
}

/** What is said and can have no effect. */
function* checkOutliers(object: DestinationRule): Iterable<Diagnostic> {
  const inherited = object.content.spec.trafficPolicy?.outlierDetection;
  for (const { policy, at } of policiesOf(object)) {
    const outlier = policy?.outlierDetection;
    const where = `${fieldPath(at)}.`;
    if (
      outlier !== undefined &&
      outlier.consecutiveGatewayErrors >= outlier.consecutive5xxErrors &&
      outlier.consecutive5xxErrors > 0 &&
      outlier.consecutiveGatewayErrors > 0
    ) {
      const text = `${where}outlierDetection.consecutiveGatewayErrors: gateway errors are 5xx errors too, and ${outlier.consecutive5xxErrors} of those eject first: write less`;
      yield object.warning("advice", [...at, "outlierDetection", "consecutiveGatewayErrors"], text);
    }
    const { localityLbSetting, zoneAwareLbSetting } = policy?.loadBalancer ?? {};
    const [name, locality] =
      zoneAwareLbSetting === undefined
        ? ["localityLbSetting", localityLbSetting]
        : ["zoneAwareLbSetting", zoneAwareLbSetting];
    if (locality === undefined || !locality.enabled || (outlier ?? inherited) !== undefined) continue;
    if (locality.failover.length + locality.failoverPriority.length === 0) continue;
    const text = `${where}loadBalancer.${name}: nothing fails over without outlierDetection, for nobody is ever found to be down: add it`;
    yield object.warning("advice", [...at, "loadBalancer", name], text);
  }
}

/** A share of a small pool is less than one endpoint, and then nobody is ever ejected (istio-api §3.5). */
function* checkPools(
  object: DestinationRule,
  hosts: readonly string[],
  endpoints: readonly Endpoint[],
): Iterable<Diagnostic> {
  if (hosts.length !== 1) return;
  for (const { policy, at, labels } of policiesOf(object)) {
    const percent = policy?.outlierDetection?.maxEjectionPercent;
    const count = endpoints.filter((each) => hasLabels(each.labels, labels)).length;
    if (percent === undefined || count === 0 || 100 / count <= percent) continue;
    const text = `${fieldPath(at)}.outlierDetection.maxEjectionPercent: ${percent} % of ${count} endpoint${count === 1 ? "" : "s"} is less than one, so none is ever ejected: write ${Math.ceil(100 / count)} or more`;
    yield object.warning("advice", [...at, "outlierDetection"], text);
  }
}

/** A server that is not verified may be anybody. */
function* checkVerified(object: DestinationRule): Iterable<Diagnostic> {
  for (const { policy, at } of policiesOf(object)) {
    if (policy?.tls?.insecureSkipVerify !== true) continue;
    const text =
      "tls.insecureSkipVerify: whoever answers is taken for the server, and gets all that is sent: use it in tests alone";
    yield object.warning("advice", [...at, "tls", "insecureSkipVerify"], text);
  }
}

/** Subsets add up; a policy for the whole host and its visibility can only come from one of them (istio-api §3.1). */
function* checkJoin(first: DestinationRule, second: DestinationRule): Iterable<Diagnostic> {
  const [a, b] = [first.content.spec, second.content.spec];
  const other = objectName(first.content);
  if (a.trafficPolicy !== undefined && b.trafficPolicy !== undefined) {
    const where = place(first, ["spec", "trafficPolicy"]);
    const text = `spec.trafficPolicy: ${other} has one for the same host already, at ${where}: keep one of the two`;
    yield second.error("conflict", ["spec", "trafficPolicy"], text, true);
  }
  if (JSON.stringify(a.exportTo ?? []) !== JSON.stringify(b.exportTo ?? [])) {
    const text = `spec.exportTo: ${other} is for the same host and has another exportTo: make both the same`;
    yield second.error("conflict", ["spec", "exportTo"], text, true);
  }
  for (const [index, { name }] of b.subsets.entries()) {
    const at = a.subsets.findIndex((subset) => subset.name === name);
    if (at === -1) continue;
    const where = place(first, ["spec", "subsets", at, "name"]);
    const text = `spec.subsets[${index}].name: ${other} defines ${name} for the same host already, at ${where}: rename or remove one`;
    yield second.error("conflict", ["spec", "subsets", index, "name"], text);
  }
}
