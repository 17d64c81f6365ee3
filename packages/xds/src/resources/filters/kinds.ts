import type { FilterKind } from "@trama/engine";
import { CorsPolicySchema, CorsSchema, HTTPFaultSchema, RBACPerRouteSchema, RBACSchema } from "@trama/proto/lean";

import type { Typed } from "../any.ts";
import type { DecodeOptions } from "../type.ts";
import { corsPolicy } from "./cors.ts";
import { fault } from "./fault.ts";
import { rbac, rbacPerRoute } from "./rbac.ts";

/** A filter that the engine has: how it is read in the list of filters, and as an override of a route. */
export interface FilterCodec {
  /** Where it may stand: what a client's library enforces on itself differs from what guards a server (R34). */
  readonly sides: readonly ("outbound" | "inbound")[];
  readonly config: (typed: Typed, options: DecodeOptions) => FilterKind;
}

/** By the type of the configuration in the list of filters. */
export const filterCodecs: ReadonlyMap<string, FilterCodec> = new Map<string, FilterCodec>([
  [
    HTTPFaultSchema.typeName,
    { sides: ["outbound", "inbound"], config: (typed, options) => fault(typed.as(HTTPFaultSchema), options) },
  ],
  [CorsSchema.typeName, { sides: ["outbound", "inbound"], config: () => ({ kind: "cors", policy: undefined }) }],
  [RBACSchema.typeName, { sides: ["inbound"], config: (typed, options) => rbac(typed.as(RBACSchema), options) }],
]);

/** By the type of the configuration in `typed_per_filter_config`, which for some filters is another than above. */
export const overrideCodecs: ReadonlyMap<string, (typed: Typed, options: DecodeOptions) => FilterKind | "off"> =
  new Map<string, (typed: Typed, options: DecodeOptions) => FilterKind | "off">([
    [HTTPFaultSchema.typeName, (typed, options) => fault(typed.as(HTTPFaultSchema), options)],
    [CorsPolicySchema.typeName, (typed, options) => corsPolicy(typed.as(CorsPolicySchema), options)],
    [RBACPerRouteSchema.typeName, (typed, options) => rbacPerRoute(typed.as(RBACPerRouteSchema), options)],
  ]);
