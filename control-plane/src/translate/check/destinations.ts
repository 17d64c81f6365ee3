import type { Diagnostic } from "../../diagnostics.ts";
import { hostsOf } from "../../model/model.ts";
import { hasLabels } from "../../model/service.ts";
import { nearest } from "../../sources/names.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import type { Subject } from "./check.ts";
import { place } from "./duplicates.ts";

type DestinationRule = ConfigObject<"DestinationRule">;

/** DestinationRules: those of one namespace for one host can be joined, and they are about something that exists. */
export function* checkDestinations({ model, translator, all }: Subject): Iterable<Diagnostic> {
  const groups = new Map<string, DestinationRule[]>();
  for (const object of all("DestinationRule")) {
    const { namespace, host } = translator.destination(object.content);
    const key = `${namespace}/${host}`;
    const group = groups.get(key) ?? [];
    groups.set(key, [...group, object]);
    for (const earlier of group) yield* checkJoin(earlier, object);
    yield* checkVerified(object);
    const served = hostsOf(model, host);
    if (served.length === 0) {
      const meant = nearest(host, model.services.hosts());
      const hint = meant === undefined ? "declare it with a ServiceEntry" : `did you mean ${meant}?`;
      yield object.warning("advice", ["spec", "host"], `spec.host: no service has the host ${host}: ${hint}`);
      continue;
    }
    const endpoints = served
      .flatMap((name) => model.services.all(name))
      .flatMap((each) => model.endpoints.get(each) ?? []);
    for (const [index, subset] of object.content.spec.subsets.entries()) {
      if (endpoints.some((each) => hasLabels(each.labels, subset.labels))) continue;
      const text = `spec.subsets[${index}]: no endpoint of ${host} has these labels now: calls to ${subset.name} would fail`;
      yield object.warning("advice", ["spec", "subsets", index], text);
    }
  }
}

/** A server that is not verified may be anybody. */
function* checkVerified(object: DestinationRule): Iterable<Diagnostic> {
  const { trafficPolicy, subsets } = object.content.spec;
  const policies = [
    { policy: trafficPolicy, at: ["spec", "trafficPolicy"] },
    ...subsets.map((subset, index) => ({
      policy: subset.trafficPolicy,
      at: ["spec", "subsets", index, "trafficPolicy"],
    })),
  ];
  for (const { policy, at } of policies) {
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
