import type { HeaderMatch, Permission, Principal, RbacConfig, RbacPolicy, RbacRules, StringMatch } from "@trama/engine";
import { RBAC_Action } from "@trama/proto/lean";
import type {
  Permission as ProtoPermission,
  Policy,
  Principal as ProtoPrincipal,
  RBAC as ProtoRules,
} from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import type { HeaderMatcher } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { RBAC, RBACPerRoute } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import type { RBAC as NetworkRBAC } from "@trama/proto/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import type { MetadataMatcher } from "@trama/proto/envoy/type/matcher/v3/metadata_pb.js";
import type { PathMatcher } from "@trama/proto/envoy/type/matcher/v3/path_pb.js";

import { ResourceError, each, unsupported, within } from "../error.ts";
import { onlyFields, snake } from "../fields.ts";
import { cidr, headerMatch, stringMatch } from "../match.ts";
import type { DecodeOptions } from "../type.ts";

/**
 * envoy.extensions.filters.http.rbac.v3.RBAC. A rule that cannot be evaluated is refused at any depth: left out, it would
 * turn a conditional ALLOW into an unconditional one (R57). Shadow rules are not enforced, so they are not read.
 */
export function rbac(message: RBAC, options: DecodeOptions): RbacConfig {
  onlyFields(
    message,
    ["rules"],
    ["rulesStatPrefix", "shadowRules", "shadowMatcher", "shadowRulesStatPrefix", "trackPerRuleStats"],
  );
  return { kind: "rbac", rules: message.rules && within("rules", () => rules(message.rules!, options)) };
}

/** envoy.extensions.filters.network.rbac.v3.RBAC: the same rules, of connections. When it is enforced makes no difference here. */
export function networkRbac(message: NetworkRBAC, options: DecodeOptions): RbacConfig {
  onlyFields(
    message,
    ["rules"],
    ["statPrefix", "shadowRules", "shadowMatcher", "shadowRulesStatPrefix", "enforcementType"],
  );
  return { kind: "rbac", rules: message.rules && within("rules", () => rules(message.rules!, options)) };
}

/** Without `rbac` it switches the filter off for that route (R58). */
export function rbacPerRoute(message: RBACPerRoute, options: DecodeOptions): RbacConfig | "off" {
  return message.rbac === undefined ? "off" : within("rbac", () => rbac(message.rbac!, options));
}

function rules(message: ProtoRules, options: DecodeOptions): RbacRules {
  onlyFields(message, ["action", "policies"], ["auditLoggingOptions"]);
  const action = actions[message.action] as RbacRules["action"] | undefined;
  if (action === undefined) throw new ResourceError(`action ${message.action} is not known`);
  // A map has no order on the wire: sorted, so that the policy which is told as the reason does not change by chance.
  const names = Object.keys(message.policies).toSorted();
  const policies = names.map((name) =>
    within(`policies[${JSON.stringify(name)}]`, () => policy(name, message.policies[name]!, options)),
  );
  return { action, policies };
}

const actions: Readonly<Record<RBAC_Action, RbacRules["action"]>> = {
  [RBAC_Action.ALLOW]: "allow",
  [RBAC_Action.DENY]: "deny",
  [RBAC_Action.LOG]: "log",
};

function policy(name: string, message: Policy, options: DecodeOptions): RbacPolicy {
  onlyFields(message, ["permissions", "principals"]); // CEL conditions are refused (R57)
  if (message.permissions.length === 0) throw new ResourceError("permissions is empty");
  if (message.principals.length === 0) throw new ResourceError("principals is empty");
  return {
    name,
    permissions: each("permissions", message.permissions, (one) => permission(one, options, 0)),
    principals: each("principals", message.principals, (one) => principal(one, options, 0)),
  };
}

/** Deeper than any policy that people write; keeps a hostile one from exhausting the stack. */
const maxDepth = 64;

function permission({ rule }: ProtoPermission, options: DecodeOptions, depth: number): Permission {
  if (depth > maxDepth) throw new ResourceError("the rule is nested too deeply");
  const inner = (one: ProtoPermission): Permission => permission(one, options, depth + 1);
  switch (rule.case) {
    case "any":
      return any(rule.value);
    case "andRules":
      return { kind: "and", of: someOf("and_rules", rule.value.rules, inner) };
    case "orRules":
      return { kind: "or", of: someOf("or_rules", rule.value.rules, inner) };
    case "notRule":
      return { kind: "not", of: within("not_rule", () => inner(rule.value)) };
    case "header":
      return { kind: "header", match: within("header", () => header(rule.value, options)) };
    case "urlPath":
      return { kind: "path", match: within("url_path", () => path(rule.value, options)) };
    case "destinationIp":
      return { kind: "destination_ip", cidr: within("destination_ip", () => cidr(rule.value)) };
    case "destinationPort":
      return { kind: "destination_port", from: rule.value, to: rule.value };
    case "destinationPortRange": {
      // Half open on the wire.
      const { start, end } = rule.value;
      if (start >= end) throw new ResourceError(`destination_port_range from ${start} to ${end} holds no port`);
      return { kind: "destination_port", from: start, to: end - 1 };
    }
    case "requestedServerName":
      return { kind: "server_name", match: within("requested_server_name", () => stringMatch(rule.value, options)) };
    case "metadata":
      return metadata(rule.value);
    case "matcher":
    case "uriTemplate":
      return unsupported(snake(rule.case));
    case undefined:
      throw new ResourceError("the rule is empty, or of a kind that this release does not know");
  }
}

function principal({ identifier: id }: ProtoPrincipal, options: DecodeOptions, depth: number): Principal {
  if (depth > maxDepth) throw new ResourceError("the rule is nested too deeply");
  const inner = (one: ProtoPrincipal): Principal => principal(one, options, depth + 1);
  switch (id.case) {
    case "any":
      return any(id.value);
    case "andIds":
      return { kind: "and", of: someOf("and_ids", id.value.ids, inner) };
    case "orIds":
      return { kind: "or", of: someOf("or_ids", id.value.ids, inner) };
    case "notId":
      return { kind: "not", of: within("not_id", () => inner(id.value)) };
    case "authenticated": {
      const name = id.value.principalName;
      const match = name && within("authenticated.principal_name", () => stringMatch(name, options));
      return { kind: "authenticated", match };
    }
    case "sourceIp":
    case "directRemoteIp":
    case "remoteIp": // the peer itself: no header is believed about who is behind it
      return { kind: "source_ip", cidr: within(snake(id.case), () => cidr(id.value)) };
    case "header":
      return { kind: "header", match: within("header", () => header(id.value, options)) };
    case "urlPath":
      return { kind: "path", match: within("url_path", () => path(id.value, options)) };
    case "metadata":
      return metadata(id.value);
    case "filterState":
      return unsupported("filter_state");
    case undefined:
      throw new ResourceError("the rule is empty, or of a kind that this release does not know");
  }
}

function any(value: boolean): { readonly kind: "any" } {
  if (!value) throw new ResourceError("any must be true");
  return { kind: "any" };
}

/** An empty list would be "always" or "never" by accident. */
function someOf<T, R>(place: string, items: readonly T[], read: (item: T) => R): R[] {
  if (items.length === 0) throw new ResourceError(`${place} is empty`);
  return each(place, items, read);
}

type Never = { readonly kind: "never" };

/** No filter writes metadata here: the matcher never matches, and its inversion always does (R57). */
function metadata(matcher: MetadataMatcher): Never | { readonly kind: "not"; readonly of: Never } {
  return matcher.invert ? { kind: "not", of: { kind: "never" } } : { kind: "never" };
}

/** gRPC's own headers cannot be judged the same everywhere, so no policy may hang on them (R56). */
function header(matcher: HeaderMatcher, options: DecodeOptions): HeaderMatch {
  const name = matcher.name.toLowerCase();
  if (name.startsWith("grpc-") || name === ":scheme") {
    throw new ResourceError(`a rule may not match on ${name}`);
  }
  return headerMatch(matcher, options);
}

function path(matcher: PathMatcher, options: DecodeOptions): StringMatch {
  if (matcher.rule.case !== "path") throw new ResourceError("path is missing");
  return stringMatch(matcher.rule.value, options);
}
