import type { DownstreamTls, FilterChainMatch, FilterConfig, RouteConfiguration } from "@trama/engine";
import { FilterChainMatch_ConnectionSourceType } from "@trama/proto/lean";
import type {
  FilterChain,
  FilterChainMatch as ProtoMatch,
} from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";

import { type Typed, openAny } from "./any.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { cidr } from "./match.ts";
import { downstreamTls } from "./tls.ts";
import { opaqueInbound } from "./opaque-listener.ts";
import type { DecodeOptions } from "./type.ts";

/** What an HttpConnectionManager says to a library. */
export interface DecodedHttp {
  readonly filters: readonly FilterConfig[];
  /** Inline, or the name to ask for by RDS. */
  readonly routes: RouteConfiguration | { readonly rds: string };
}

export interface DecodedChain {
  readonly name: string;
  readonly match: FilterChainMatch;
  readonly tls: DownstreamTls | undefined;
  readonly http: DecodedHttp;
  /** `http` is then about connections; see `FilterChain.opaque`. */
  readonly opaque: boolean;
  /** False: it asks for something that no connection here has (server name, ALPN, destination port), so it never matches (R61). */
  readonly matchable: boolean;
  /** The whole match as text, for the check that no two are the same. */
  readonly matchKey: string;
}

/** One filter chain: an HttpConnectionManager alone, which `http` reads, or what takes connections. */
export function filterChain(
  chain: FilterChain,
  options: DecodeOptions,
  http: (typed: Typed) => DecodedHttp,
): DecodedChain {
  onlyFields(
    chain,
    ["name", "filterChainMatch", "filters", "transportSocket"],
    ["metadata", "transportSocketConnectTimeout"],
  );
  const match = chain.filterChainMatch;
  const opaque = opaqueInbound(chain.filters, options);
  return {
    name: chain.name,
    match: within("filter_chain_match", () => chainMatch(match)),
    tls: within("transport_socket", () => downstreamTls(chain.transportSocket, options)),
    http: opaque ?? manager(chain, http),
    opaque: opaque !== undefined,
    matchable:
      match === undefined ||
      (match.destinationPort === undefined &&
        match.serverNames.length === 0 &&
        match.applicationProtocols.length === 0),
    matchKey: key(match),
  };
}

function manager({ filters }: FilterChain, http: (typed: Typed) => DecodedHttp): DecodedHttp {
  const [filter, ...more] = filters;
  if (filter === undefined || more.length > 0)
    throw new ResourceError("filters must hold one HttpConnectionManager, or end with a TcpProxy");
  if (filter.configType.case !== "typedConfig") throw new ResourceError("filters[0] has no typed_config");
  const config = filter.configType.value;
  return within("filters[0]", () => http(openAny(config)));
}

/** Two chains with the same match: which one is meant would depend on order (R61). */
export function uniqueMatches(chains: readonly DecodedChain[]): void {
  const seen = new Set<string>();
  for (const { matchKey, name } of chains) {
    if (seen.has(matchKey)) {
      throw new ResourceError(`filter_chains: ${JSON.stringify(name)} has the same filter_chain_match as another one`);
    }
    seen.add(matchKey);
  }
}

const sources: Readonly<Record<FilterChainMatch_ConnectionSourceType, FilterChainMatch["sourceType"]>> = {
  [FilterChainMatch_ConnectionSourceType.ANY]: "any",
  [FilterChainMatch_ConnectionSourceType.SAME_IP_OR_LOOPBACK]: "same_ip_or_loopback",
  [FilterChainMatch_ConnectionSourceType.EXTERNAL]: "external",
};

const everything: FilterChainMatch = {
  transportProtocol: undefined,
  destinationPrefixes: [],
  sourceType: "any",
  sourcePrefixes: [],
  sourcePorts: [],
};

function chainMatch(match: ProtoMatch | undefined): FilterChainMatch {
  if (match === undefined) return everything;
  onlyFields(match, [
    "prefixRanges",
    "sourceType",
    "sourcePrefixRanges",
    "sourcePorts",
    "transportProtocol",
    "destinationPort",
    "serverNames",
    "applicationProtocols",
  ]);
  const sourceType = sources[match.sourceType] as FilterChainMatch["sourceType"] | undefined;
  if (sourceType === undefined) throw new ResourceError(`source_type ${match.sourceType} is not known`);
  return {
    transportProtocol: transportProtocol(match.transportProtocol),
    destinationPrefixes: each("prefix_ranges", match.prefixRanges, cidr),
    sourceType,
    sourcePrefixes: each("source_prefix_ranges", match.sourcePrefixRanges, cidr),
    sourcePorts: [...match.sourcePorts],
  };
}

function transportProtocol(text: string): FilterChainMatch["transportProtocol"] {
  if (text === "") return undefined;
  if (text === "tls" || text === "raw_buffer") return text;
  throw new ResourceError(`transport_protocol ${JSON.stringify(text)} is neither tls nor raw_buffer`);
}

function key(match: ProtoMatch | undefined): string {
  const ranges = (list: ProtoMatch["prefixRanges"]): string[] =>
    list.map((range) => `${range.addressPrefix}/${range.prefixLen ?? 0}`).toSorted();
  return JSON.stringify([
    match?.destinationPort ?? null,
    ranges(match?.prefixRanges ?? []),
    match?.sourceType ?? 0,
    ranges(match?.sourcePrefixRanges ?? []),
    [...(match?.sourcePorts ?? [])].toSorted((a, b) => a - b),
    (match?.serverNames ?? []).toSorted(),
    match?.transportProtocol ?? "",
    (match?.applicationProtocols ?? []).toSorted(),
  ]);
}
