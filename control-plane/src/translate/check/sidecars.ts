import type { Diagnostic } from "../../diagnostics.ts";
import type { Model } from "../../model/model.ts";
import { isAlwaysOpaque } from "../../model/route.ts";
import { covered } from "../../model/scope.ts";
import { endpointPort, labelsKey } from "../../model/service.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import type { Subject } from "./subject.ts";
import { place } from "./duplicates.ts";

/** Sidecars: one for each workload, about hosts that exist; what only a proxy could do is named. */
export function* checkSidecars({ model, translator, all }: Subject): Iterable<Diagnostic> {
  const seen = new Map<string, ConfigObject<"Sidecar">>();
  for (const object of all("Sidecar")) {
    const { namespace, spec } = object.content;
    const labels = spec.workloadSelector?.labels;
    const key = `${namespace} ${labelsKey(labels ?? {})}`;
    const first = seen.get(key);
    if (first !== undefined) {
      const whom = labels === undefined ? `the whole namespace ${namespace}` : "the same workloads";
      const text = `spec: ${objectName(first.content)} is for ${whom} too, at ${place(first, ["spec"])}: keep one of the two`;
      yield object.error("conflict", ["spec"], text, true);
    } else seen.set(key, object);
    yield* checkIngress(object, model);
    const patterns = translator.scope(object.content).seen ?? [];
    let next = 0;
    for (const [at, entry] of (spec.egress ?? []).entries()) {
      for (const field of ["port", "bind", "captureMode"] as const) {
        if (entry[field] === undefined) continue;
        const path = ["spec", "egress", at, field];
        const text = `spec.egress[${at}].${field}: has no effect in Trama, which opens no listener for calls: remove it`;
        yield object.warning("advice", path, text);
      }
      for (const [index, host] of entry.hosts.entries()) {
        if (host.excluded) continue;
        const pattern = patterns[next++];
        if (pattern === undefined || pattern.host === "*") continue;
        if ([...model.services.values()].some((service) => covered(pattern, service, namespace))) continue;
        const text = `spec.egress[${at}].hosts[${index}]: no service has this host: declare it with a ServiceEntry`;
        yield object.warning("advice", ["spec", "egress", at, "hosts", index], text);
      }
    }
  }
}

/** Ports that lead nowhere, and what only a proxy could do. */
function* checkIngress(object: ConfigObject<"Sidecar">, model: Model): Iterable<Diagnostic> {
  const { namespace, spec } = object.content;
  for (const [at, { port, captureMode, connectionPool }] of (spec.ingress ?? []).entries()) {
    if (captureMode !== undefined) {
      const text = `spec.ingress[${at}].captureMode: has no effect in Trama, where a server is called at its own port: remove it`;
      yield object.warning("advice", ["spec", "ingress", at, "captureMode"], text);
    }
    if (connectionPool?.http.http2MaxRequests !== undefined && takesConnections(model, namespace, port.number)) {
      const path = ["spec", "ingress", at, "connectionPool", "http", "http2MaxRequests"];
      const text = `${fieldPath(path)}: has no effect on port ${port.number}, which takes connections: write tcp.maxConnections`;
      yield object.warning("advice", path, text);
    }
    const served = [...model.behind].some(
      ([where, services]) =>
        where.endsWith(`:${port.number}`) && services.some((service) => service.namespace === namespace),
    );
    if (served) continue;
    const text = `spec.ingress[${at}].port.number: no service of namespace ${namespace} leads to port ${port.number}: write the targetPort of one`;
    yield object.warning("advice", ["spec", "ingress", at, "port", "number"], text);
  }
}

/** Whether all that services of a namespace lead to that port of their workloads is connections. */
function takesConnections({ endpoints }: Model, namespace: string, number: number): boolean {
  const leading = [...endpoints].flatMap(([service, list]) =>
    service.namespace === namespace
      ? service.ports.filter((port) => list.some((endpoint) => endpointPort(endpoint, port) === number))
      : [],
  );
  return leading.length > 0 && leading.every(isAlwaysOpaque);
}
