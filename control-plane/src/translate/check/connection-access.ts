import { isIP } from "node:net";

import type { Diagnostic } from "../../diagnostics.ts";
import { looksAtRequests } from "../../model/access.ts";
import { getOrMake } from "../../model/host-index.ts";
import type { Model } from "../../model/model.ts";
import { isAlwaysOpaque } from "../../model/route.ts";
import {
  type Endpoint,
  type Service,
  type ServicePort,
  endpointPort,
  hasLabels,
  socketAddress,
} from "../../model/service.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import { accessPolicy } from "../istio/authorization-policy.ts";
import type { Subject } from "./subject.ts";

/** A port of a workload where no request is read. */
interface Place {
  readonly endpoint: Endpoint;
  readonly service: Service;
  readonly port: ServicePort;
}

/** AuthorizationPolicies that look at requests, for workloads that take connections: Istio lets them mean something else there. */
export function* checkConnectionAccess({ model, all }: Pick<Subject, "model" | "all">): Iterable<Diagnostic> {
  let places: readonly Place[] | undefined;
  for (const object of all("AuthorizationPolicy")) {
    const { action, rules, selector, namespace } = accessPolicy(object.content);
    for (const [index, rule] of rules.entries()) {
      if (!looksAtRequests(rule)) continue;
      places ??= opaquePlaces(model);
      const found = places.find(
        ({ endpoint }) =>
          (namespace === model.mesh.rootNamespace || namespace === endpoint.namespace) &&
          hasLabels(endpoint.labels, selector),
      );
      if (found === undefined) continue;
      const { service, port } = found;
      const path = ["spec", "rules", index, "to"];
      const effect =
        action === "allow"
          ? "the rule lets nobody in there: add one that looks at ports alone"
          : "the rule denies there without that condition: select other workloads if that is too much";
      const text = `${fieldPath(path)}: looks at requests, and port ${port.number} of ${service.host} is ${port.protocol.toUpperCase()}, where none is read: ${effect}`;
      yield object.warning("advice", path, text);
    }
  }
}

/** By address: one port of HTTP that leads to the same place makes it one of requests. */
function opaquePlaces({ endpoints }: Model): readonly Place[] {
  const found = new Map<string, Place[]>();
  for (const [service, list] of endpoints)
    for (const endpoint of list)
      for (const port of isIP(endpoint.address) === 0 ? [] : service.ports) {
        const where = socketAddress(endpoint.address, endpointPort(endpoint, port));
        getOrMake(found, where, (): Place[] => []).push({ endpoint, service, port });
      }
  return [...found.values()].flatMap((list) => (list.every(({ port }) => isAlwaysOpaque(port)) ? list : []));
}
