import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteMatchSchema, RouteSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import type { Chance } from "../chance.ts";

export type RouteInit = Exclude<MessageInitShape<typeof RouteSchema>, { $typeName: string }>;
export type MatchInit = Exclude<MessageInitShape<typeof RouteMatchSchema>, { $typeName: string }>;

/** A route under construction. */
export interface Draft {
  readonly route: RouteInit;
  readonly match: MatchInit;
}

/**
 * One thing that a route can say, with random values. To try a new one against Envoy: a file in `features/` with such a function,
 * and its line in `features/index.ts`. What Envoy then answers and sends upstream is compared without further code.
 */
export type RouteFeature = (draft: Draft, chance: Chance) => void;
