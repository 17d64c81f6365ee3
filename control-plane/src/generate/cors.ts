import type { Any } from "@bufbuild/protobuf/wkt";
import { CorsPolicySchema, CorsSchema } from "@trama/proto/envoy/extensions/filters/http/cors/v3/cors_pb.js";

import type { Cors } from "../model/route.ts";
import { stringMatcher } from "./match.ts";
import { type HttpFilter, pack } from "./wire.ts";

export const corsFilterName = "envoy.filters.http.cors";

/** Empty: what it does comes with each route. */
export const corsFilter: HttpFilter = {
  name: corsFilterName,
  configType: { case: "typedConfig", value: pack(CorsSchema, {}) },
};

export function corsOverride(cors: Cors): Any {
  return pack(CorsPolicySchema, {
    allowOriginStringMatch: cors.origins.flatMap((origin) =>
      origin.kind === "present" ? [] : [stringMatcher(origin)],
    ),
    allowMethods: cors.methods.join(","),
    allowHeaders: cors.headers.join(","),
    exposeHeaders: cors.expose.join(","),
    maxAge: cors.maxAgeSeconds === undefined ? "" : String(cors.maxAgeSeconds),
    allowCredentials: cors.credentials,
    forwardNotMatchingPreflights: cors.forwardUnmatched,
  });
}
