import { typeUrls } from "@trama/proto";
import { SecretSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";

import { type Model, destinationPolicy } from "../../model/model.ts";
import { socketAddress } from "../../model/service.ts";
import type { NodeView, ProxySettings } from "../../snapshot.ts";
import type { Recipe } from "../cache.ts";
import { ownLimits, ownPort } from "../own-port.ts";
import { ownCors } from "../server-hosts.ts";
import { sameForAll } from "../static-rules.ts";
import { wireResource } from "../wire.ts";
import { sidecarInbound, sidecarInboundCluster } from "./inbound.ts";
import {
  inboundClusterName,
  inboundListenerName,
  outboundName,
  readInboundClusterName,
  readInboundListenerName,
} from "./names.ts";
import { sidecarOutbound, sidecarRoutes, visibleServices } from "./outbound.ts";
import { rootSecretName } from "./tls.ts";

/** What only a sidecar asks for. Clusters of services and endpoints are not here: they are the same for all. */
export function envoyRecipe(
  model: Model,
  node: NodeView,
  proxy: ProxySettings,
  typeUrl: string,
  name: string,
): Recipe | undefined {
  switch (typeUrl) {
    case typeUrls.listener:
      return name === outboundName ? outbound(proxy) : inbound(model, node, proxy, name);
    case typeUrls.routeConfiguration:
      return name === outboundName ? routes(model, node) : undefined;
    case typeUrls.cluster:
      return inboundCluster(model, node, proxy, name);
    case typeUrls.secret:
      return name === rootSecretName ? roots(model) : undefined;
    default:
      return undefined;
  }
}

/** Names of what only a sidecar asks for, of the types that it asks for as a whole. */
export function* envoyNames(model: Model, node: NodeView, typeUrl: string): Iterable<string> {
  if (typeUrl === typeUrls.listener) {
    yield outboundName;
    for (const { address, port } of ownPorts(model, node)) yield inboundListenerName(address, port);
  } else if (typeUrl === typeUrls.cluster) {
    for (const port of new Set(ownPorts(model, node).map((each) => each.port))) yield inboundClusterName(port);
  }
}

/** Where services of the node's own namespace lead to one of its addresses. */
function ownPorts(
  model: Model,
  { addresses, namespace }: NodeView,
): readonly { readonly address: string; readonly port: number }[] {
  return addresses.flatMap((address) => {
    const before = socketAddress(address, 0).slice(0, -1);
    const ports = [...model.behind].flatMap(([where, services]) =>
      where.startsWith(before) && services.some((service) => service.namespace === namespace)
        ? [Number(where.slice(before.length))]
        : [],
    );
    return ports.sort((a, b) => a - b).map((port) => ({ address, port }));
  });
}

function outbound(proxy: ProxySettings): Recipe {
  return { variant: "", inputs: [], shared: true, make: () => sidecarOutbound(proxy) };
}

/** For ports behind which the node's services are, and no others. */
function inbound(model: Model, node: NodeView, proxy: ProxySettings, name: string): Recipe | undefined {
  const asked = readInboundListenerName(name);
  if (asked === undefined || !node.addresses.includes(asked.address)) return undefined;
  const own = ownPort(model, node, asked.address, asked.port);
  if (own.services.length === 0) return undefined;
  const { mesh } = model;
  const cors = own.opaque ? [] : ownCors(model, node, asked.port, own.services);
  return {
    variant: `${own.mode} ${own.opaque ? "opaque " : ""}${node.id} ${JSON.stringify(cors.map(({ ports }) => ports))}`,
    inputs: [...own.policies, ...own.services, ...cors.map(({ table }) => table)],
    shared: false,
    make: () => sidecarInbound({ mesh, ...asked, ...own, cors, proxy }),
  };
}

function inboundCluster(model: Model, node: NodeView, proxy: ProxySettings, name: string): Recipe | undefined {
  const port = readInboundClusterName(name);
  if (port === undefined) return undefined;
  const served = node.addresses.some((address) => ownPort(model, node, address, port).services.length > 0);
  if (!served) return undefined;
  const limits = ownLimits(model, node, port);
  return { variant: "", inputs: [limits], shared: false, make: () => sidecarInboundCluster(port, proxy, limits) };
}

function routes(model: Model, node: NodeView): Recipe {
  const services = visibleServices(model, node);
  const tables = services.map((service) => model.routes.find(service.host, node.namespace));
  const shared = tables.every(sameForAll) && !model.selecting.has(node.namespace);
  return {
    // A table may speak of the caller's labels.
    variant: shared ? "" : JSON.stringify(Object.entries(node.labels).map(String).sort()),
    inputs: [...services, ...tables, ...services.map((service) => destinationPolicy(model, service, node))],
    shared,
    make: () => sidecarRoutes(model, node),
  };
}

/** The mesh's roots. They are public: private keys are made where they are used and never come here (S35). */
function roots({ mesh: { rootsPem } }: Model): Recipe | undefined {
  if (rootsPem === "") return undefined;
  return {
    variant: "",
    inputs: [rootsPem],
    shared: true,
    make: () =>
      wireResource(SecretSchema, rootSecretName, {
        name: rootSecretName,
        type: {
          case: "validationContext",
          value: { trustedCa: { specifier: { case: "inlineBytes", value: Buffer.from(rootsPem) } } },
        },
      }),
  };
}
