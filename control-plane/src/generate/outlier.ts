import type { MessageInitShape } from "@bufbuild/protobuf";
import type { JsonObject } from "@bufbuild/protobuf";
import type { MatchPredicateSchema } from "@trama/proto/envoy/config/common/matcher/v3/matcher_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import type { OutlierPolicy, TrafficPolicy } from "../model/destination.ts";
import type { NodeView } from "../snapshot.ts";
import { durationOf } from "./wire.ts";

/**
 * Outlier detection as Istio writes it: rows of failures only, rates never. gRPC's own clients know rates alone, and take
 * every status but OK for a failure, NOT_FOUND included (gRFC A50): from them it stays away, for what would be left
 * of the policy is another one.
 */
export function outlierDetection(
  { outlier }: Partial<TrafficPolicy>,
  kind: NodeView["kind"],
): Pick<MessageInitShape<typeof ClusterSchema>, "outlierDetection"> {
  return kind === "grpc" || outlier === undefined ? {} : { outlierDetection: detection(outlier) };
}

function detection(outlier: OutlierPolicy): MessageInitShape<typeof ClusterSchema>["outlierDetection"] {
  const on = (count: number): number => (count > 0 ? 100 : 0);
  return {
    consecutive5xx: outlier.consecutive5xx,
    enforcingConsecutive5xx: on(outlier.consecutive5xx),
    ...(outlier.consecutiveGateway === 0
      ? {}
      : { consecutiveGatewayFailure: outlier.consecutiveGateway, enforcingConsecutiveGatewayFailure: 100 }),
    ...(outlier.splitLocal
      ? {
          splitExternalLocalOriginErrors: true,
          consecutiveLocalOriginFailure: outlier.consecutiveLocal,
          enforcingConsecutiveLocalOriginFailure: on(outlier.consecutiveLocal),
          enforcingLocalOriginSuccessRate: 0,
        }
      : {}),
    interval: durationOf(outlier.intervalMs),
    baseEjectionTime: durationOf(outlier.baseEjectionMs),
    maxEjectionPercent: outlier.maxEjectionPercent,
    enforcingSuccessRate: 0,
  };
}

type Predicate = Exclude<MessageInitShape<typeof MatchPredicateSchema>, { $typeName: string }>;

/** Which answers are failures, where the policy says it: all others are successes then. It goes with the protocol's options. */
export function errorMatcher({ outlier }: Partial<TrafficPolicy>, kind: NodeView["kind"]): Predicate | undefined {
  if (outlier === undefined || kind === "grpc") return undefined;
  const ranges: { start: number; end: number }[] = [];
  for (const status of outlier.errorStatuses) {
    const last = ranges.at(-1);
    if (last?.end === status) last.end++;
    else ranges.push({ start: status, end: status + 1 });
  }
  const rules = ranges.map(({ start, end }): Predicate => {
    const value = { start: BigInt(start), end: BigInt(end) };
    const header = { name: ":status", headerMatchSpecifier: { case: "rangeMatch" as const, value } };
    return { rule: { case: "httpResponseHeadersMatch", value: { headers: [header] } } };
  });
  return rules.length < 2 ? rules[0] : { rule: { case: "orMatch", value: { rules } } };
}

/** What Envoy's messages have no field for. */
export function outlierMetadata(
  { outlier }: Partial<TrafficPolicy>,
  probing: boolean,
  kind: NodeView["kind"],
): Record<string, JsonObject> {
  if (outlier === undefined || kind !== "trama" || probing) return {};
  return { "trama.outlier_detection": { probing } };
}
