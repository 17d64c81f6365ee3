import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { FractionalPercent_DenominatorType } from "@trama/proto/envoy/type/v3/percent_pb.js";

import { any } from "../../../../kit/xds-resources.ts";
import { plainHeaderMatcher } from "../../grammar/headers.ts";
import type { RouteFeature } from "../feature.ts";

/** An abort by override, certain or impossible, for all requests or for some headers. */
export const fault: RouteFeature = ({ route }, chance) => {
  if (!chance.maybe(0.15)) return;
  const numerator = chance.maybe(0.8) ? 100 : 0;
  const override = any(HTTPFaultSchema, {
    abort: {
      errorType: { case: "httpStatus", value: chance.pick([400, 429, 503, 599]) },
      percentage: { numerator, denominator: FractionalPercent_DenominatorType.HUNDRED },
    },
    headers: chance.maybe(0.4) ? [plainHeaderMatcher(chance)] : [],
  });
  route.typedPerFilterConfig = { "envoy.filters.http.fault": override };
};

/** The same where the request says what is done to it; the share is all or nothing. */
export const askedFault: RouteFeature = ({ route }, chance) => {
  if (!chance.maybe(0.1)) return;
  const override = any(HTTPFaultSchema, {
    abort: {
      errorType: { case: "headerAbort", value: {} },
      percentage: { numerator: 100, denominator: FractionalPercent_DenominatorType.HUNDRED },
    },
  });
  route.typedPerFilterConfig = { ...route.typedPerFilterConfig, "envoy.filters.http.fault": override };
};
