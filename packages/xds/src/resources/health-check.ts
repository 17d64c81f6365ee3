import type { HealthCheckConfig, HealthQuestion } from "@trama/engine";
import type {
  HealthCheck,
  HealthCheck_GrpcHealthCheck,
  HealthCheck_HttpHealthCheck,
} from "@trama/proto/envoy/config/core/v3/health_check_pb.js";
import type { Int64Range } from "@trama/proto/envoy/type/v3/range_pb.js";
import type { Duration } from "@bufbuild/protobuf/wkt";

import { durationMs } from "./duration.ts";
import { ResourceError, unsupported } from "./error.ts";
import { onlyFields, snake } from "./fields.ts";

/** `health_checks`: none or one, as in Envoy. What would be checked otherwise than it says is refused. */
export function healthCheck(checks: readonly HealthCheck[]): HealthCheckConfig | undefined {
  const [check, ...more] = checks;
  if (check === undefined) return undefined;
  if (more.length > 0) throw new ResourceError(`one at most, not ${checks.length}`);
  onlyFields(check, known, harmless);
  const { initialJitter, intervalJitter } = check;
  const intervalMs = needed(check.interval, "interval");
  const noTrafficIntervalMs = optional(check.noTrafficInterval, "no_traffic_interval", 60_000);
  const unhealthyIntervalMs = optional(check.unhealthyInterval, "unhealthy_interval", intervalMs);
  return {
    ask: question(check.healthChecker),
    timeoutMs: needed(check.timeout, "timeout"),
    intervalMs,
    initialJitterMs: initialJitter === undefined ? 0 : durationMs(initialJitter, "initial_jitter"),
    intervalJitterMs: intervalJitter === undefined ? 0 : durationMs(intervalJitter, "interval_jitter"),
    intervalJitterPercent: check.intervalJitterPercent,
    unhealthyThreshold: threshold(check.unhealthyThreshold, "unhealthy_threshold"),
    healthyThreshold: threshold(check.healthyThreshold, "healthy_threshold"),
    noTrafficIntervalMs,
    noTrafficHealthyIntervalMs: optional(
      check.noTrafficHealthyInterval,
      "no_traffic_healthy_interval",
      noTrafficIntervalMs,
    ),
    unhealthyIntervalMs,
    unhealthyEdgeIntervalMs: optional(check.unhealthyEdgeInterval, "unhealthy_edge_interval", unhealthyIntervalMs),
    healthyEdgeIntervalMs: optional(check.healthyEdgeInterval, "healthy_edge_interval", intervalMs),
  };
}

const known: readonly (keyof HealthCheck)[] = [
  "timeout",
  "interval",
  "initialJitter",
  "intervalJitter",
  "intervalJitterPercent",
  "unhealthyThreshold",
  "healthyThreshold",
  "healthChecker",
  "noTrafficInterval",
  "noTrafficHealthyInterval",
  "unhealthyInterval",
  "unhealthyEdgeInterval",
  "healthyEdgeInterval",
];

/** Logs of a proxy; and a connection is always used again. */
const harmless: readonly (keyof HealthCheck)[] = [
  "reuseConnection",
  "eventLogPath",
  "eventLogger",
  "eventService",
  "alwaysLogHealthCheckFailures",
  "alwaysLogHealthCheckSuccess",
];

function needed(duration: Duration | undefined, field: string): number {
  if (duration === undefined) throw new ResourceError(`${field} is missing`);
  const ms = durationMs(duration, field);
  if (ms <= 0) throw new ResourceError(`${field} must be greater than zero`);
  return ms;
}

function optional(duration: Duration | undefined, field: string, fallback: number): number {
  return duration === undefined ? fallback : needed(duration, field);
}

function threshold(value: number | undefined, field: string): number {
  if (value === undefined) throw new ResourceError(`${field} is missing`);
  return Math.max(1, value);
}

function question(checker: HealthCheck["healthChecker"]): HealthQuestion {
  switch (checker.case) {
    case "httpHealthCheck":
      return http(checker.value);
    case "tcpHealthCheck":
      onlyFields(checker.value, []);
      return { kind: "tcp" };
    case "grpcHealthCheck":
      return grpc(checker.value);
    case undefined:
      throw new ResourceError("health_checker is missing");
    default:
      return unsupported(snake(checker.case));
  }
}

/** By number, envoy.config.core.v3.RequestMethod; CONNECT is none that could be asked. */
const methods: readonly (string | undefined)[] = [
  "GET",
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  undefined,
  "OPTIONS",
  "TRACE",
  "PATCH",
];

function http(check: HealthCheck_HttpHealthCheck): HealthQuestion {
  onlyFields(
    check,
    ["host", "path", "requestHeadersToAdd", "expectedStatuses", "retriableStatuses", "codecClientType", "method"],
    ["responseBufferSize"],
  );
  if (check.path === "") throw new ResourceError("path is empty");
  const method = methods[check.method];
  if (method === undefined) return unsupported(`method ${check.method}`);
  if (check.codecClientType > 1) return unsupported(`codec_client_type ${check.codecClientType}`);
  return {
    kind: "http",
    authority: check.host,
    method,
    path: check.path,
    headers: check.requestHeadersToAdd.map(({ header }) => {
      if (header === undefined || header.key === "") throw new ResourceError("request_headers_to_add: key is empty");
      return [header.key.toLowerCase(), header.value] as const;
    }),
    expected: check.expectedStatuses.map((range) => statuses(range, "expected_statuses")),
    retriable: check.retriableStatuses.map((range) => statuses(range, "retriable_statuses")),
    http2: check.codecClientType === 1,
  };
}

/** Half open on the wire. */
function statuses({ start, end }: Int64Range, field: string): { from: number; to: number } {
  if (start < 100n || end > 600n || start >= end)
    throw new ResourceError(`${field}: ${start} to ${end} is no range of statuses`);
  return { from: Number(start), to: Number(end) - 1 };
}

function grpc(check: HealthCheck_GrpcHealthCheck): HealthQuestion {
  onlyFields(check, ["serviceName", "authority"]);
  if (Buffer.byteLength(check.serviceName) > 127) throw new ResourceError("service_name is longer than 127 bytes");
  return { kind: "grpc", service: check.serviceName, authority: check.authority };
}
