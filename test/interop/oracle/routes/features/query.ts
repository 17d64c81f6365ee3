import { queryMatcher } from "../../grammar/queries.ts";
import type { RouteFeature } from "../feature.ts";

export const query: RouteFeature = ({ match }, chance) => {
  if (chance.maybe(0.25)) match.queryParameters = chance.list(1, 2, () => queryMatcher(chance));
};
