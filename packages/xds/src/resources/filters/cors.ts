import type { CorsConfig } from "@trama/engine";
import type { CorsPolicy } from "@trama/proto/envoy/extensions/filters/http/cors/v3/cors_pb.js";

import { ResourceError, each, unsupported } from "../error.ts";
import { onlyFields } from "../fields.ts";
import { perMillion, stringMatch } from "../match.ts";
import type { DecodeOptions } from "../type.ts";

/** envoy.extensions.filters.http.cors.v3.CorsPolicy. The filter's own message, Cors, is empty. */
export function corsPolicy(message: CorsPolicy, options: DecodeOptions): CorsConfig | "off" {
  onlyFields(
    message,
    [
      "allowOriginStringMatch",
      "allowMethods",
      "allowHeaders",
      "exposeHeaders",
      "maxAge",
      "allowCredentials",
      "filterEnabled",
      "allowPrivateNetworkAccess",
      "forwardNotMatchingPreflights",
    ],
    // Counts what would be; it decides nothing.
    ["shadowEnabled"],
  );
  for (const field of ["allowMethods", "allowHeaders", "exposeHeaders", "maxAge"] as const)
    if (/[^\t -~]/.test(message[field])) throw new ResourceError(`${field} has characters that no header may have`);
  const { filterEnabled } = message;
  if (filterEnabled !== undefined) {
    const share = filterEnabled.defaultValue === undefined ? 0 : perMillion(filterEnabled.defaultValue);
    if (share === 0) return "off";
    if (share < 1_000_000) unsupported("filter_enabled of a share");
  }
  return {
    kind: "cors",
    policy: {
      origins: each("allow_origin_string_match", message.allowOriginStringMatch, (one) => stringMatch(one, options)),
      allowMethods: message.allowMethods,
      allowHeaders: message.allowHeaders,
      exposeHeaders: message.exposeHeaders,
      maxAge: message.maxAge,
      allowCredentials: message.allowCredentials ?? false,
      forwardUnmatched: message.forwardNotMatchingPreflights ?? true,
      allowPrivateNetwork: message.allowPrivateNetworkAccess ?? false,
    },
  };
}
