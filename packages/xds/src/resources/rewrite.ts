import { type AuthorityRewrite, type PathRewrite, type Rewrite, substitutionFault } from "@trama/engine";
import type { RouteAction } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { RegexMatchAndSubstitute } from "@trama/proto/envoy/type/matcher/v3/regex_pb.js";

import { ResourceError, unsupported, within } from "./error.ts";
import { onlyFields, snake } from "./fields.ts";
import { regexOf } from "./match.ts";
import type { DecodeOptions } from "./type.ts";

/** `undefined` when the route sends on what the caller wrote. */
export function rewrite(action: RouteAction, options: DecodeOptions): Rewrite | undefined {
  const path = pathRewrite(action, options);
  const authority = authorityRewrite(action);
  if (path === undefined && authority === undefined) return undefined;
  return { path, authority, forwardHost: action.appendXForwardedHost };
}

/** Of a route action and of a redirect; at most one of both may be given. */
export function pathRewrite(
  {
    prefixRewrite: value,
    regexRewrite: regex,
  }: { readonly prefixRewrite: string; readonly regexRewrite?: RegexMatchAndSubstitute | undefined },
  options: DecodeOptions,
): PathRewrite | undefined {
  if (value !== "" && regex !== undefined) throw new ResourceError("both prefix_rewrite and regex_rewrite are given");
  if (regex !== undefined) return within("regex_rewrite", () => regexRewrite(regex, options));
  return value === "" ? undefined : { kind: "matched", value: pathText(value, "prefix_rewrite") };
}

export function regexRewrite(
  message: RegexMatchAndSubstitute,
  options: DecodeOptions,
): Extract<PathRewrite, { kind: "regex" }> {
  onlyFields(message, ["pattern", "substitution"]);
  if (message.pattern === undefined) throw new ResourceError("pattern is missing");
  const pattern = regexOf(message.pattern, options);
  const substitution = pathText(message.substitution, "substitution");
  const fault = substitutionFault(pattern, substitution);
  if (fault !== undefined) throw new ResourceError(`substitution: ${fault}`);
  return { kind: "regex", pattern, substitution };
}

/** What goes onto the request line must not end it. */
export function pathText(text: string, field: string): string {
  if (/[^!-~]/.test(text)) throw new ResourceError(`${field} has a space, a control or a non-ASCII character in it`);
  return text;
}

function authorityRewrite({ hostRewriteSpecifier: one }: RouteAction): AuthorityRewrite | undefined {
  switch (one.case) {
    case "hostRewriteLiteral":
      return one.value === "" ? undefined : { kind: "literal", value: pathText(one.value, "host_rewrite_literal") };
    case "hostRewriteHeader":
      if (one.value.startsWith(":")) unsupported(`host_rewrite_header: ${one.value}`);
      return one.value === "" ? undefined : { kind: "header", name: one.value.toLowerCase() };
    case undefined:
      return undefined;
    default:
      return unsupported(snake(one.case));
  }
}
