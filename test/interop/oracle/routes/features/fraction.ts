import { FractionalPercent_DenominatorType } from "@trama/proto/envoy/type/v3/percent_pb.js";

import type { RouteFeature } from "../feature.ts";

const { HUNDRED, TEN_THOUSAND, MILLION } = FractionalPercent_DenominatorType;
/** All, none, and more than all; the shares between are compared as distributions (`shares/`). */
const certain = [
  { numerator: 0, denominator: HUNDRED },
  { numerator: 100, denominator: HUNDRED },
  { numerator: 10_000, denominator: TEN_THOUSAND },
  { numerator: 1_000_000, denominator: MILLION },
  { numerator: 150, denominator: HUNDRED },
];

export const fraction: RouteFeature = ({ match }, chance) => {
  if (chance.maybe(0.15)) match.runtimeFraction = { defaultValue: chance.pick(certain), runtimeKey: "" };
};
