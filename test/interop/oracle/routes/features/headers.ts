import { headerMatcher } from "../../grammar/headers.ts";
import type { RouteFeature } from "../feature.ts";

export const headers: RouteFeature = ({ match }, chance) => {
  if (chance.maybe(0.6)) match.headers = chance.list(1, 2, () => headerMatcher(chance));
};
