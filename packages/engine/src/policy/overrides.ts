import type { FilterConfig, FilterKind, FilterOverrides } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { Layer } from "../service.ts";
import { filterLayer } from "./chain.ts";
import type { Filter, FilterState } from "./filter.ts";
import type { AnswerEdit } from "./local-reply.ts";
import { buildFilter } from "./registry.ts";

/** The filter chain under these overrides, the most specific level first; `edit` changes what filters answer themselves. */
export type LayerFor = (levels: readonly FilterOverrides[], edit?: AnswerEdit) => Layer;

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

  const compose: LayerFor = (levels, edit) =>
    filterLayer(
      filters.map((_filter, at) => filterAt(at, levels)).filter((filter) => filter !== undefined),
      env,
      edit,
    );

  let plain: Layer | undefined;
  return (levels, edit) =>
    edit === undefined && levels.every((level) => level.size === 0) ? (plain ??= compose([])) : compose(levels, edit);
}
