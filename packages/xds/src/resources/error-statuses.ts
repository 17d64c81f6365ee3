import type { OutlierConfig } from "@trama/engine";
import type { MatchPredicate } from "@trama/proto/envoy/config/common/matcher/v3/matcher_pb.js";

import { each, ResourceError, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";

type Ranges = NonNullable<OutlierConfig["errorStatuses"]>;

/**
 * `outlier_detection.error_matcher` of HttpProtocolOptions: which answers are failures, all others being successes. Conditions on the
 * status alone, as Istio writes them; anything else is refused by name.
 */
export function errorStatuses({ rule }: MatchPredicate): Ranges {
  if (rule.case === "orMatch") return each("or_match.rules", rule.value.rules, errorStatuses).flat();
  if (rule.case !== "httpResponseHeadersMatch") return unsupported(rule.case ?? "an empty error_matcher");
  const [header, another] = rule.value.headers;
  if (header === undefined || another !== undefined)
    throw new ResourceError("http_response_headers_match.headers must be one, of :status");
  return within("http_response_headers_match.headers[0]", () => {
    onlyFields(header, ["name", "headerMatchSpecifier"]);
    if (header.name.toLowerCase() !== ":status") unsupported(`a condition on ${header.name}`);
    const { headerMatchSpecifier: test } = header;
    if (test.case === "rangeMatch") return [range(Number(test.value.start), Number(test.value.end) - 1)];
    if (test.case === "exactMatch") return [range(Number(test.value), Number(test.value))];
    if (test.case === "stringMatch" && test.value.matchPattern.case === "exact")
      return [range(Number(test.value.matchPattern.value), Number(test.value.matchPattern.value))];
    return unsupported(`${test.case ?? "no"} condition`);
  });
}

function range(from: number, to: number): Ranges[number] {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from > to)
    throw new ResourceError(`${from} to ${to} is no range of statuses`);
  return { from, to };
}
