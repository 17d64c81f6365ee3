import type { MessageInitShape } from "@bufbuild/protobuf";
import type { FilterChainSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { TcpProxySchema } from "@trama/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";

import { any } from "../../../kit/xds-resources.ts";
import type { Chance } from "../chance.ts";

type ChainInit = Exclude<MessageInitShape<typeof FilterChainSchema>, { $typeName: string }>;

/** An opaque port, and connections to it. */
export interface ConnectionCase {
  readonly name: string;
  readonly port: number;
  readonly filterChains: readonly ChainInit[];
  readonly defaultFilterChain: ChainInit | undefined;
  readonly hellos: readonly Hello[];
}

/** What a client says first: a TLS hello that asks for a server, one that asks for none, or something that is no TLS. */
export type Hello = { readonly kind: "tls"; readonly serverName: string } | { readonly kind: "plain" };

export const clusters = ["one", "two", "three", "four"] as const;

const labels = ["a", "b", "api", "b-1"];
const zones = ["example", "x.example", "example.com"];

/** Names whose parts are often the same, so that several chains could take one connection. */
function name(chance: Chance): string {
  return [...chance.list(0, 3, () => chance.pick(labels)), chance.pick(zones)].join(".");
}

export function connectionCase(chance: Chance, at: number, port: number, hellos: number): ConnectionCase {
  const taken = new Set<string>();
  const wanted = chance.list(0, 4, () =>
    chance
      .list(1, 3, () => (chance.maybe(0.4) ? `*.${name(chance)}` : name(chance)))
      .filter((one) => !taken.has(one) && taken.add(one)),
  );
  const filterChains = wanted
    .filter((names) => names.length > 0)
    .map((serverNames, index) => ({
      name: `chain-${index}`,
      filterChainMatch: { serverNames, ...(chance.maybe(0.2) && { transportProtocol: "tls" }) },
      ...to(chance.pick(clusters)),
    }));
  const rest = filterChains.length === 0 || chance.maybe(0.5);
  return {
    name: `connections-${at}`,
    port,
    filterChains,
    defaultFilterChain: rest ? { name: "rest", ...to(chance.pick(clusters)) } : undefined,
    hellos: Array.from({ length: hellos }, () => hello(chance, [...taken])),
  };
}

function to(cluster: string): Pick<ChainInit, "filters"> {
  const proxy = any(TcpProxySchema, { statPrefix: "tcp", clusterSpecifier: { case: "cluster", value: cluster } });
  return { filters: [{ name: "tcp", configType: { case: "typedConfig", value: proxy } }] };
}

/** Mostly a name that a chain has, or one near it. */
function hello(chance: Chance, names: readonly string[]): Hello {
  if (chance.maybe(0.1)) return { kind: "plain" };
  if (chance.maybe(0.1)) return { kind: "tls", serverName: "" };
  const known = names.length === 0 || chance.maybe(0.2) ? name(chance) : chance.pick(names).replace(/^\*\./, "");
  const near = chance.either(
    () => known,
    () => known,
    () => `${chance.pick(labels)}.${known}`,
    () => known.slice(known.indexOf(".") + 1),
  );
  return { kind: "tls", serverName: chance.maybe(0.2) ? chance.mixCase(near) : near };
}
