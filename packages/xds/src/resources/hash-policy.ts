import type { HashPolicy, HashSource } from "@trama/engine";
import type { RouteAction_HashPolicy } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { durationMs } from "./duration.ts";
import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { regexRewrite } from "./rewrite.ts";
import type { DecodeOptions } from "./type.ts";

/** What gRPC calls the one property of a connection that its clients can hash by (gRFC A42). */
const channelId = "io.grpc.channel_id";

/** `undefined` when nothing is hashed. */
export function hashPolicies(
  policies: readonly RouteAction_HashPolicy[],
  options: DecodeOptions,
): readonly HashPolicy[] | undefined {
  const found = each("hash_policy", policies, (policy) => {
    const source = hashSource(policy, options);
    return source === undefined ? [] : [{ ...source, terminal: policy.terminal }];
  }).flat();
  return found.length === 0 ? undefined : found;
}

function hashSource({ policySpecifier: one }: RouteAction_HashPolicy, options: DecodeOptions): HashSource | undefined {
  switch (one.case) {
    case "header":
      return within("header", () => {
        onlyFields(one.value, ["headerName", "regexRewrite"]);
        const name = named(one.value.headerName, "header_name").toLowerCase();
        if (name.startsWith(":") && ![":authority", ":method", ":path"].includes(name))
          unsupported(`header_name ${name}`);
        const { regexRewrite: regex } = one.value;
        const rewrite = regex && within("regex_rewrite", () => regexRewrite(regex, options));
        return { kind: "header", name, rewrite };
      });
    case "cookie":
      return within("cookie", () => {
        const { name, ttl, path, attributes } = one.value;
        return {
          kind: "cookie",
          name: cookieText(named(name, "name"), "name"),
          ttlMs: ttl && durationMs(ttl, "ttl"),
          path: cookieText(path, "path"),
          attributes: attributes.map((attribute) => ({
            name: cookieText(named(attribute.name, "attributes.name"), "attributes.name"),
            value: cookieText(attribute.value, "attributes.value"),
          })),
        };
      });
    case "connectionProperties":
      return one.value.sourceIp ? { kind: "source_ip" } : undefined;
    case "queryParameter":
      return { kind: "query", name: named(one.value.name, "query_parameter.name") };
    case "filterState":
      if (one.value.key !== channelId) return unsupported(`filter_state ${one.value.key}`);
      return { kind: "channel" };
    default:
      throw new ResourceError("it names nothing to hash, or in a way that this release does not know");
  }
}

function named(text: string, field: string): string {
  if (text === "") throw new ResourceError(`${field} is empty`);
  return text;
}

/** What goes into `set-cookie` must not end it. */
function cookieText(text: string, field: string): string {
  if (/[^!-~]|[;,]/.test(text)) {
    throw new ResourceError(`${field} has a separator, a space, a control or a non-ASCII character in it`);
  }
  return text;
}
