import { CorsPolicySchema } from "@trama/proto/envoy/extensions/filters/http/cors/v3/cors_pb.js";

import { any } from "../../../../kit/xds-resources.ts";
import type { RouteFeature } from "../feature.ts";

/** Origins by every kind of matcher, the lists present, absent and `*`. Requests bring origins of their own (`grammar/origins.ts`). */
export const cors: RouteFeature = ({ route }, chance) => {
  if (!chance.maybe(0.3)) return;
  const override = any(CorsPolicySchema, {
    allowOriginStringMatch: chance.list(0, 2, () => ({
      matchPattern: chance.pick([
        { case: "exact", value: "https://a.example" },
        { case: "exact", value: "*" },
        { case: "prefix", value: "https://" },
        { case: "suffix", value: ".example" },
        { case: "safeRegex", value: { regex: "https?://[ab]\\.example" } },
      ] as const),
    })),
    allowMethods: chance.pick(["", "GET,PUT", "*"]),
    allowHeaders: chance.pick(["", "x-a,x-b", "*"]),
    exposeHeaders: chance.pick(["", "x-c"]),
    maxAge: chance.pick(["", "60"]),
    ...(chance.maybe() && { allowCredentials: chance.maybe() }),
    ...(chance.maybe() && { allowPrivateNetworkAccess: chance.maybe() }),
    ...(chance.maybe() && { forwardNotMatchingPreflights: chance.maybe() }),
  });
  route.typedPerFilterConfig = { ...route.typedPerFilterConfig, "envoy.filters.http.cors": override };
};
