import { mutations } from "../../grammar/mutations.ts";
import type { RouteFeature } from "../feature.ts";

/** Header operations of the route and of its weighted clusters; those of the levels above are the table's. */
export const mutation: RouteFeature = ({ route }, chance) => {
  if (chance.maybe(0.3)) Object.assign(route, mutations(chance));
  const { action } = route;
  if (action?.case !== "route" || action.value.clusterSpecifier?.case !== "weightedClusters") return;
  for (const cluster of action.value.clusterSpecifier.value.clusters ?? [])
    if (chance.maybe(0.4)) Object.assign(cluster, mutations(chance));
};
