import type { FilterKind } from "../config.ts";
import type { Env } from "../env.ts";
import { corsFilter } from "./cors.ts";
import { faultFilter } from "./fault.ts";
import type { Filter, FilterState } from "./filter.ts";
import { rbacFilter } from "./rbac.ts";

/**
 * Builds a filter from its configuration; `undefined` when the configuration has nothing to do, so that a chain holds only
 * filters that act. Every kind that the decoder knows has its line here: the compiler sees to it.
 */
export function buildFilter(config: FilterKind, name: string, env: Env, state: FilterState): Filter | undefined {
  switch (config.kind) {
    case "fault":
      return faultFilter(config, name, env, state);
    case "cors":
      return corsFilter(config, name, env);
    case "rbac":
      return rbacFilter(config, name, env);
  }
}
