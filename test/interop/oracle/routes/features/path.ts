import { pathMatcher } from "../../grammar/paths.ts";
import type { RouteFeature } from "../feature.ts";

export const path: RouteFeature = ({ match }, chance) => void Object.assign(match, pathMatcher(chance));
