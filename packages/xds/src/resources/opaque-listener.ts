import type { FilterConfig, RouteConfig, RouteConfiguration } from "@trama/engine";
import { NetworkRbacSchema, TcpProxySchema } from "@trama/proto/lean";
import type {
  Filter,
  FilterChain,
  FilterChainMatch,
} from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import type { Listener } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";

import { type Typed, openAny } from "./any.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import type { DecodedHttp } from "./filter-chain.ts";
import { networkRbac } from "./filters/rbac.ts";
import { everything, tcpHost, tcpRoute } from "./tcp-proxy.ts";
import type { DecodeOptions } from "./type.ts";

/**
 * An outbound listener whose port is opaque: filter chains by server name, as Envoy has them behind a TLS inspector, each with one TcpProxy.
 * Server names are found as hosts of requests are (exact, then the longest suffix), so they are virtual hosts here.
 */
export function opaqueOutbound(listener: Listener): DecodedHttp {
  const seen = new Set<string>();
  const hosts = each("filter_chains", listener.filterChains, (chain) => {
    const names = within("filter_chain_match", () => serverNames(chain.filterChainMatch));
    for (const name of names) {
      if (seen.has(name)) throw new ResourceError(`another chain takes ${name === "*" ? "everything" : name} already`);
      seen.add(name);
    }
    return tcpHost(proxyOf(chain), names);
  });
  const { defaultFilterChain: other } = listener;
  if (other !== undefined) {
    if (seen.has("*")) throw new ResourceError("default_filter_chain: another chain takes everything already");
    hosts.push(within("default_filter_chain", () => tcpHost(proxyOf(other), ["*"])));
  }
  if (hosts.length === 0) throw new ResourceError("there is no filter chain");
  return { filters: [], routes: { name: listener.name, virtualHosts: hosts } };
}

function proxyOf(chain: FilterChain): ReturnType<typeof tcpRoute> {
  onlyFields(chain, ["name", "filterChainMatch", "filters"], ["metadata"]);
  const [filter, ...more] = chain.filters;
  if (filter === undefined || more.length > 0) throw new ResourceError("filters must hold one TcpProxy");
  return within("filters[0]", () => tcpRoute(chain.name, typed(filter)));
}

function serverNames(match: FilterChainMatch | undefined): readonly string[] {
  if (match === undefined) return ["*"];
  onlyFields(match, ["serverNames", "transportProtocol"]);
  // Who names a server speaks TLS, and who speaks it names one; the word is a proxy's way to make sure.
  if (match.transportProtocol !== "" && match.transportProtocol !== "tls")
    throw new ResourceError("transport_protocol must be tls, if anything");
  if (match.serverNames.length === 0) return ["*"];
  return each("server_names", match.serverNames, (name) => {
    if (!/^(\*\.)?[^*]+$/.test(name))
      throw new ResourceError(`${JSON.stringify(name)} is neither a name nor one behind "*."`);
    return name.toLowerCase();
  });
}

/**
 * The filters of an inbound chain for connections: RBACs, then a TcpProxy, which means the application. `undefined`: the chain is not of this
 * kind.
 */
export function opaqueInbound(filters: readonly Filter[], options: DecodeOptions): DecodedHttp | undefined {
  const last = filters.at(-1)?.configType;
  if (last?.case !== "typedConfig" || openAny(last.value).typeName !== TcpProxySchema.typeName) return undefined;
  const found: FilterConfig[] = [];
  each("filters", filters, (filter, index) => {
    if (index === filters.length - 1) return void tcpRoute("", typed(filter));
    const content = typed(filter);
    if (content.typeName !== NetworkRbacSchema.typeName)
      throw new ResourceError(`${content.typeName} is not supported before a TcpProxy; use RBAC`);
    const name = filter.name === "" ? `rbac ${index}` : filter.name;
    found.push({ name, disabled: false, config: networkRbac(content.as(NetworkRbacSchema), options) });
  });
  return { filters: found, routes: toApplication };
}

const application: RouteConfig = {
  name: "inbound",
  match: everything,
  action: { kind: "non_forwarding" },
  overrides: new Map(),
};
const toApplication: RouteConfiguration = { name: "inbound", virtualHosts: [tcpHost(application, ["*"])] };

function typed({ configType: one }: Filter): Typed {
  if (one.case !== "typedConfig") throw new ResourceError("it has no typed_config");
  return openAny(one.value);
}
