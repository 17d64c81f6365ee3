import type { FilterConfig, FilterKind, FilterOverrides } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { Layer } from "../service.ts";
import { filterLayer } from "./chain.ts";
import type { Filter, FilterState } from "./filter.ts";
import { buildFilter } from "./registry.ts";

/** The filter chain under these overrides, the most specific level first. */
export type LayerFor = (levels: readonly FilterOverrides[]) => Layer;

/**
 * Resolves a listener's filters against per-route configuration: weighted cluster before route before virtual host before
 * listener, by instance name (R33). What is not overridden is built once and shared by all routes, so a thousand
 * routes without overrides have one chain between them.
 */
export function layersOf(filters: readonly FilterConfig[], env: Env, state: FilterState): LayerFor {
  const built = filters.map(() => new Map<FilterKind, Filter | undefined>());

  const filterAt = (at: number, levels: readonly FilterOverrides[]): Filter | undefined => {
    const { name, config, disabled } = filters[at]!;
    const override = levels.find((level) => level.has(name))?.get(name);
    if (override === "off" || (override === undefined && disabled)) return undefined;
    if (override !== undefined && override.kind !== config.kind)
      throw new MeshError(
        "INTERNAL",
        `the override of filter "${name}" is for ${override.kind}, the filter is ${config.kind}`,
      );
    const effective = override ?? config;
    const cache = built[at]!;
    if (!cache.has(effective)) cache.set(effective, buildFilter(effective, name, env, state));
    return cache.get(effective);
  };

  const compose = (levels: readonly FilterOverrides[]): Layer =>
    filterLayer(
      filters.map((_filter, at) => filterAt(at, levels)).filter((filter) => filter !== undefined),
      env,
    );

  let plain: Layer | undefined;
  return (levels) => (levels.every((level) => level.size === 0) ? (plain ??= compose([])) : compose(levels));
}
