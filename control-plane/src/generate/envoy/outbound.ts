import { ApiVersion } from "@trama/proto/envoy/config/core/v3/config_source_pb.js";
import { TrafficDirection } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import { type Model, destinationPolicy, visibleService } from "../../model/model.ts";
import { isOpaque } from "../../model/route.ts";
import type { Service } from "../../model/service.ts";
import type { NodeView, ProxySettings, WireResource } from "../../snapshot.ts";
import { connections } from "../connections.ts";
import { corsFilter } from "../cors.ts";
import { fault, router } from "../listeners.ts";
import { spellings } from "../names.ts";
import { answerLimit } from "../answers.ts";
import { virtualHost } from "../routes.ts";
import { type StaticRule, hashKeys, staticRules } from "../static-rules.ts";
import { pack, wireResource } from "../wire.ts";
import { connectHost } from "./connect.ts";
import { socketAddress } from "./inbound.ts";
import { outboundName } from "./names.ts";

/**
 * One listener for everything that the application calls: it is used as an HTTP proxy (`HTTP_PROXY`, or the call's authority),
 * so it needs no redirection of packets, no right to low ports, and is in the way of no port of the application.
 */
export function sidecarOutbound({ outbound }: ProxySettings): WireResource {
  const manager = pack(HttpConnectionManagerSchema, {
    statPrefix: outboundName,
    routeSpecifier: {
      case: "rds",
      value: {
        routeConfigName: outboundName,
        configSource: { resourceApiVersion: ApiVersion.V3, configSourceSpecifier: { case: "ads", value: {} } },
      },
    },
    httpFilters: [fault, corsFilter, router],
    // Routes of opaque ports allow it, each for itself.
    upgradeConfigs: [{ upgradeType: "CONNECT", enabled: false }],
  });
  return wireResource(ListenerSchema, outboundName, {
    name: outboundName,
    address: socketAddress(outbound.address, outbound.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [
      {
        name: outboundName,
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            configType: { case: "typedConfig", value: manager },
          },
        ],
      },
    ],
  });
}

/** Every port of every service that the node can see, as a virtual host of its own. */
export function sidecarRoutes(model: Model, node: NodeView): WireResource {
  const { mesh } = model;
  const { namespace } = node;
  const services = visibleServices(model, node);
  const owners = domainOwners(model, services, namespace);
  const all: StaticRule[] = [];
  const virtualHosts = services.flatMap((service) => {
    const table = model.routes.find(service.host, namespace);
    const policy = destinationPolicy(model, service, node);
    const names = spellings(mesh, service, namespace).filter((spelling) => owners.get(spelling) === service);
    return service.ports.map((each) => {
      const { number: port } = each;
      if (isOpaque(each, table, node)) {
        const domains = names.map((name) => `${name}:${port}`);
        return connectHost(service.host, port, connections(model, node, service, each), domains);
      }
      const rules = table === undefined ? [] : staticRules(model, node, table, port);
      // Without a port, HTTP means 80; where there is but one, that is meant.
      const bare = port === 80 || service.ports.length === 1 ? names : [];
      all.push(...rules);
      const hash = hashKeys(policy, "", port);
      return virtualHost({ service, port, rules, hash, kind: node.kind }, [
        ...bare,
        ...names.map((name) => `${name}:${port}`),
      ]);
    });
  });
  return wireResource(RouteConfigurationSchema, outboundName, {
    name: outboundName,
    ...answerLimit(all),
    requestHeadersToRemove: ["x-trama-peer"],
    virtualHosts,
  });
}

export function visibleServices(model: Model, node: NodeView): readonly Service[] {
  return [...model.services.hosts()].sort().flatMap((host) => visibleService(model, node, host) ?? []);
}

/**
 * Envoy refuses a configuration with one domain twice. A short name can mean two services (`reviews.shop` is a host, and
 * short for another): as everywhere, what is written in full goes first (I16).
 */
function domainOwners(model: Model, services: readonly Service[], namespace: string): ReadonlyMap<string, Service> {
  const owners = new Map(services.map((service) => [service.host, service]));
  for (const service of services)
    for (const spelling of spellings(model.mesh, service, namespace))
      if (!owners.has(spelling)) owners.set(spelling, service);
  return owners;
}
