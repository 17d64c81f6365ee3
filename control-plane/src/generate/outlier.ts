import type { MessageInitShape } from "@bufbuild/protobuf";
import type { JsonObject } from "@bufbuild/protobuf";
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

/** What Envoy's message has no field for; an Envoy counts 500 … 599 in any case. */
export function outlierMetadata(
  { outlier }: Partial<TrafficPolicy>,
  probing: boolean,
  kind: NodeView["kind"],
): Record<string, JsonObject> {
  if (outlier === undefined || kind !== "trama") return {};
  const { errorStatuses } = outlier;
  if (errorStatuses.length === 0 && probing) return {};
  return {
    "trama.outlier_detection": {
      ...(probing ? {} : { probing }),
      ...(errorStatuses.length === 0 ? {} : { error_statuses: errorStatuses.map((status) => [status, status]) }),
    },
  };
}
