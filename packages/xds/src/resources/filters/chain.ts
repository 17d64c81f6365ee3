import type { FilterConfig } from "@trama/engine";
import { RouterSchema } from "@trama/proto/lean";
import type { HttpFilter } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import { openAny } from "../any.ts";
import { ResourceError, each, unsupported, within } from "../error.ts";
import type { DecodeOptions } from "../type.ts";
import { filterCodecs } from "./kinds.ts";

/**
 * The HTTP filters of a listener, in order, without the router, which must be last and only last. An unknown filter
 * is refused unless it is optional: it might be the one that guards something (R34).
 */
export function httpFilters(
  filters: readonly HttpFilter[],
  side: "outbound" | "inbound",
  options: DecodeOptions,
): FilterConfig[] {
  const names = new Set<string>();
  const found: FilterConfig[] = [];
  let routers = 0;
  each("http_filters", filters, (filter, index) => {
    if (filter.name === "") throw new ResourceError("name is empty");
    if (names.has(filter.name)) throw new ResourceError(`the name ${JSON.stringify(filter.name)} is there twice`);
    names.add(filter.name);
    const read = readFilter(filter, side, options);
    if (read === "router") {
      routers++;
      if (index !== filters.length - 1) throw new ResourceError("the router must be the last filter");
    } else if (read !== undefined) {
      found.push(read);
    }
  });
  if (routers === 0) throw new ResourceError("http_filters: the last filter must be the router");
  return found;
}

function readFilter(
  filter: HttpFilter,
  side: "outbound" | "inbound",
  options: DecodeOptions,
): FilterConfig | "router" | undefined {
  const { configType, name, disabled } = filter;
  if (configType.case === "configDiscovery") return filter.isOptional ? undefined : unsupported("config_discovery");
  if (configType.case === undefined) {
    if (filter.isOptional) return undefined;
    throw new ResourceError(`filter ${JSON.stringify(name)} has no typed_config`);
  }
  const typed = openAny(configType.value);
  if (typed.typeName === RouterSchema.typeName) return "router";
  const codec = filterCodecs.get(typed.typeName);
  if (codec?.sides.includes(side)) {
    return { name, disabled, config: within(JSON.stringify(name), () => codec.config(typed, options)) };
  }
  if (filter.isOptional) return undefined;
  throw new ResourceError(
    `filter ${JSON.stringify(name)} (${typed.typeName}) is not supported ${side} by this release; remove it or mark it is_optional`,
  );
}
