import { effectiveTraffic } from "../model/destination.ts";
import { type Model, destinationPolicy, serviceOf } from "../model/model.ts";
import type { Service, ServicePort } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import { isOpaqueTo } from "./connections.ts";
import { readClusterName } from "./names.ts";

export interface Target {
  readonly service: Service;
  readonly port: ServicePort;
  /** It takes whole connections of this node. */
  readonly opaque: boolean;
  readonly policy: ReturnType<typeof destinationPolicy>;
  readonly subset: string;
  /** The policy leads calls nowhere: they go where the name leads (PASSTHROUGH). */
  readonly passes: boolean;
}

/** What `outbound|port|subset|host` stands for, if the node can see it. */
export function find(model: Model, node: NodeView, name: string): Target | undefined {
  const id = readClusterName(name);
  // A wildcard has no cluster: what is called under it has one each.
  if (id === undefined || id.host.startsWith("*")) return undefined;
  const service = serviceOf(model, node.namespace, id.host);
  const port = service?.ports.find(({ number }) => number === id.port);
  if (service === undefined || port === undefined) return undefined;
  const policy = destinationPolicy(model, service, node);
  const exists = id.subset === "" || policy?.subsets.some((subset) => subset.name === id.subset) === true;
  if (!exists) return undefined;
  const passes = effectiveTraffic(policy, id.subset, port.number).balancer?.kind === "passthrough";
  return { service, port, opaque: isOpaqueTo(model, node, service, port), policy, subset: id.subset, passes };
}
