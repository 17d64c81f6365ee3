import type { FaultByRequest, FaultConfig } from "@trama/engine";
import type { FaultDelay } from "@trama/proto/envoy/extensions/filters/common/fault/v3/fault_pb.js";
import type { FaultAbort, HTTPFault } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";

import type { FractionalPercent } from "@trama/proto/envoy/type/v3/percent_pb.js";

import { durationMs } from "../duration.ts";
import { ResourceError, each, within } from "../error.ts";
import { onlyFields } from "../fields.ts";
import { headerMatch, perMillion } from "../match.ts";
import type { DecodeOptions } from "../type.ts";

/** envoy.extensions.filters.http.fault.v3.HTTPFault. Runtime keys name no value here: the defaults count (R32). */
export function fault(message: HTTPFault, options: DecodeOptions): FaultConfig {
  onlyFields(
    message,
    ["delay", "abort", "headers", "maxActiveFaults"],
    [
      "delayPercentRuntime",
      "abortPercentRuntime",
      "delayDurationRuntime",
      "abortHttpStatusRuntime",
      "maxActiveFaultsRuntime",
      "responseRateLimitPercentRuntime",
      "abortGrpcStatusRuntime",
      "disableDownstreamClusterStats",
      "filterMetadata",
    ],
  );
  return {
    kind: "fault",
    delay: message.delay && within("delay", () => delay(message.delay!)),
    abort: message.abort && within("abort", () => abort(message.abort!)),
    headers: each("headers", message.headers, (one) => headerMatch(one, options)),
    maxActive: message.maxActiveFaults,
  };
}

function delay({ faultDelaySecifier: one, percentage }: FaultDelay): FaultConfig["delay"] {
  if (one.case === "headerDelay") return { ms: 0, ...askedShare(percentage) };
  if (one.case === undefined) throw new ResourceError("fixed_delay is missing");
  const ms = durationMs(one.value, "fixed_delay");
  if (ms <= 0) throw new ResourceError("fixed_delay must be greater than zero");
  return { ms, perMillion: percentage === undefined ? 0 : perMillion(percentage) };
}

/** What the request may ask for counts in the unit of the configured share. */
function askedShare(percentage: FractionalPercent | undefined): { perMillion: number; byRequest: FaultByRequest } {
  const unit = { ...percentage, numerator: 1 } as FractionalPercent;
  const unitPerMillion = percentage === undefined ? 10_000 : perMillion(unit);
  return { perMillion: percentage === undefined ? 0 : perMillion(percentage), byRequest: { unitPerMillion } };
}

function abort({ errorType: one, percentage }: FaultAbort): FaultConfig["abort"] {
  const share = percentage === undefined ? 0 : perMillion(percentage);
  switch (one.case) {
    case "httpStatus":
      if (one.value < 200 || one.value > 599) throw new ResourceError(`http_status ${one.value} is not 200 … 599`);
      return { httpStatus: one.value, grpcStatus: undefined, perMillion: share };
    case "grpcStatus":
      return { httpStatus: undefined, grpcStatus: one.value, perMillion: share };
    case "headerAbort":
      return { httpStatus: undefined, grpcStatus: undefined, ...askedShare(percentage) };
    case undefined:
      throw new ResourceError("http_status or grpc_status is missing");
  }
}
