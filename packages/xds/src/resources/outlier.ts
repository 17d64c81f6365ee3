import type { OutlierConfig } from "@trama/engine";
import type { OutlierDetection } from "@trama/proto/envoy/config/cluster/v3/outlier_detection_pb.js";
import type { Metadata } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { Duration } from "@bufbuild/protobuf/wkt";

import { durationMs } from "./duration.ts";
import { ResourceError } from "./error.ts";
import { onlyFields } from "./fields.ts";

/**
 * `outlier_detection` with Envoy's defaults (dataplane.md §2.1). Absent is off; present and empty is on. Which statuses
 * are failures is said among the protocol's options; and what Envoy has no field for, `probing` (bool), in
 * `metadata.filter_metadata["trama.outlier_detection"]`.
 */
export function outlierDetection(
  detection: OutlierDetection | undefined,
  metadata: Metadata | undefined,
  errorStatuses: OutlierConfig["errorStatuses"],
): OutlierConfig | undefined {
  if (detection === undefined) return undefined;
  onlyFields(detection, known);
  const ms = (duration: Duration | undefined, field: string, fallback: number): number => {
    if (duration === undefined) return fallback;
    const value = durationMs(duration, field);
    if (value <= 0) throw new ResourceError(`${field} must be greater than zero`);
    return value;
  };
  const baseEjectionMs = ms(detection.baseEjectionTime, "base_ejection_time", 30_000);
  const maxEjectionMs = ms(detection.maxEjectionTime, "max_ejection_time", Math.max(300_000, baseEjectionMs));
  if (maxEjectionMs < baseEjectionMs)
    throw new ResourceError("max_ejection_time must not be less than base_ejection_time");
  const jitter = detection.maxEjectionTimeJitter;
  return {
    consecutive5xx: detection.consecutive5xx ?? 5,
    enforcingConsecutive5xx: percent(detection.enforcingConsecutive5xx, "enforcing_consecutive_5xx", 100),
    consecutiveGatewayFailure: detection.consecutiveGatewayFailure ?? 5,
    enforcingConsecutiveGatewayFailure: percent(
      detection.enforcingConsecutiveGatewayFailure,
      "enforcing_consecutive_gateway_failure",
      0,
    ),
    splitLocalOrigin: detection.splitExternalLocalOriginErrors,
    consecutiveLocalOrigin: detection.consecutiveLocalOriginFailure ?? 5,
    enforcingConsecutiveLocalOrigin: percent(
      detection.enforcingConsecutiveLocalOriginFailure,
      "enforcing_consecutive_local_origin_failure",
      100,
    ),
    intervalMs: ms(detection.interval, "interval", 10_000),
    baseEjectionMs,
    maxEjectionMs,
    maxEjectionJitterMs: jitter === undefined ? 0 : durationMs(jitter, "max_ejection_time_jitter"),
    maxEjectionPercent: percent(detection.maxEjectionPercent, "max_ejection_percent", 10),
    alwaysEjectOne: detection.alwaysEjectOneHost ?? false,
    successRate: {
      minHosts: detection.successRateMinimumHosts ?? 5,
      requestVolume: detection.successRateRequestVolume ?? 100,
      stdevFactor: detection.successRateStdevFactor ?? 1_900,
      enforcing: percent(detection.enforcingSuccessRate, "enforcing_success_rate", 100),
      enforcingLocalOrigin: percent(
        detection.enforcingLocalOriginSuccessRate,
        "enforcing_local_origin_success_rate",
        100,
      ),
    },
    failurePercentage: {
      threshold: percent(detection.failurePercentageThreshold, "failure_percentage_threshold", 85),
      minHosts: detection.failurePercentageMinimumHosts ?? 5,
      requestVolume: detection.failurePercentageRequestVolume ?? 50,
      enforcing: percent(detection.enforcingFailurePercentage, "enforcing_failure_percentage", 0),
      enforcingLocalOrigin: percent(
        detection.enforcingFailurePercentageLocalOrigin,
        "enforcing_failure_percentage_local_origin",
        0,
      ),
    },
    unejectOnHealthCheck: detection.successfulActiveHealthCheckUnejectHost ?? true,
    probing: probing(metadata),
    errorStatuses,
  };
}

const known: readonly (keyof OutlierDetection)[] = [
  "consecutive5xx",
  "interval",
  "baseEjectionTime",
  "maxEjectionPercent",
  "enforcingConsecutive5xx",
  "enforcingSuccessRate",
  "successRateMinimumHosts",
  "successRateRequestVolume",
  "successRateStdevFactor",
  "consecutiveGatewayFailure",
  "enforcingConsecutiveGatewayFailure",
  "splitExternalLocalOriginErrors",
  "consecutiveLocalOriginFailure",
  "enforcingConsecutiveLocalOriginFailure",
  "enforcingLocalOriginSuccessRate",
  "failurePercentageThreshold",
  "enforcingFailurePercentage",
  "enforcingFailurePercentageLocalOrigin",
  "failurePercentageMinimumHosts",
  "failurePercentageRequestVolume",
  "maxEjectionTime",
  "maxEjectionTimeJitter",
  "successfulActiveHealthCheckUnejectHost",
  "alwaysEjectOneHost",
];

function percent(value: number | undefined, field: string, fallback: number): number {
  if (value !== undefined && value > 100) throw new ResourceError(`${field} ${value} is more than 100 %`);
  return value ?? fallback;
}

function probing(metadata: Metadata | undefined): boolean {
  const own: unknown = metadata?.filterMetadata["trama.outlier_detection"]?.["probing"];
  if (own !== undefined && typeof own !== "boolean") throw new ResourceError("probing is neither true nor false");
  return own ?? true;
}
