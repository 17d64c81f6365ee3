import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import {
  type PermissionSchema,
  type PolicySchema,
  type PrincipalSchema,
  RBAC_Action,
  type RBACSchema as RulesSchema,
} from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import { RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";

import type { AccessPolicy, AccessRule, Operation, Source, Values } from "../model/access.ts";
import type { MeshSettings } from "../model/mesh.ts";
import { escapeRegex, patternMatcher, regex } from "./match.ts";
import { trustDomains } from "./tls.ts";
import { pack } from "./wire.ts";

type Permission = MessageInitShape<typeof PermissionSchema>;
type Principal = MessageInitShape<typeof PrincipalSchema>;
type Policy = MessageInitShape<typeof PolicySchema>;

/** All policies of one action as one filter. */
export function rbac(policies: readonly AccessPolicy[], action: "allow" | "deny", mesh: MeshSettings): Any {
  return pack(RBACSchema, { rules: rbacRules(policies, action, mesh) });
}

/** The policies' names say to users which rule decided (I24). */
export function rbacRules(
  policies: readonly AccessPolicy[],
  action: "allow" | "deny",
  mesh: MeshSettings,
): MessageInitShape<typeof RulesSchema> {
  const named: Record<string, Policy> = {};
  for (const policy of policies) {
    const base = `${policy.namespace}-${policy.name}`;
    // Without rules it matches nothing, and it is there all the same: an ALLOW then denies everything (S41).
    if (policy.rules.length === 0) named[free(named, base)] = nothing;
    for (const [index, rule] of policy.rules.entries()) named[free(named, `${base}-${index}`)] = policyOf(rule, mesh);
  }
  return { action: action === "deny" ? RBAC_Action.DENY : RBAC_Action.ALLOW, policies: named };
}

const nothing: Policy = {
  permissions: [{ rule: { case: "notRule", value: { rule: { case: "any", value: true } } } }],
  principals: [{ identifier: { case: "notId", value: { identifier: { case: "any", value: true } } } }],
};

/** Namespace and name are both full of hyphens: `a-b` + `c` and `a` + `b-c` must not replace one another. */
function free(named: Readonly<Record<string, Policy>>, name: string): string {
  let candidate = name;
  for (let n = 2; Object.hasOwn(named, candidate); n++) candidate = `${name}~${n}`;
  return candidate;
}

function policyOf({ sources, operations }: AccessRule, mesh: MeshSettings): Policy {
  return {
    permissions: operations?.map(permissionOf) ?? [{ rule: { case: "any", value: true } }],
    principals: sources?.map((source) => principalOf(source, mesh)) ?? [{ identifier: { case: "any", value: true } }],
  };
}

// ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function principalOf({ principals, namespaces }: Source, mesh: MeshSettings): Principal {
  return allIds([
    ...conditions(principals, (value) => anyId(principalIds(value, mesh)), anyId, notId),
    ...conditions(namespaces, (value) => anyId(namespaceIds(value, mesh)), anyId, notId),
  ]);
}

/** The certificate names a SPIFFE URI; the YAML leaves its scheme out. Trust-domain aliases are expanded (S41). */
function principalIds(value: string, mesh: MeshSettings): Principal[] {
  const slash = value.indexOf("/");
  const domains = trustDomains(mesh);
  const own = slash > 0 && !value.startsWith("*") && domains.includes(value.slice(0, slash));
  const values = own ? domains.map((domain) => domain + value.slice(slash)) : [value];
  return values.map((each) => authenticated(patternMatcher(each, "spiffe://")));
}

/**
 * A namespace is one segment of the identity. Exact names and prefixes are compared as text; the one form that needs a
 * regex is escaped (istio-api §11.1).
 */
function namespaceIds(value: string, mesh: MeshSettings): Principal[] {
  return trustDomains(mesh).map((domain) => {
    const base = `spiffe://${domain}/ns/`;
    if (value === "*") return authenticated(patternMatcher("*", base));
    if (value.startsWith("*")) {
      return authenticated(regex(`${escapeRegex(base)}[^/]*${escapeRegex(value.slice(1))}/sa/.+`));
    }
    return authenticated(patternMatcher(value.endsWith("*") ? value : `${value}/sa/*`, base));
  });
}

function authenticated(principalName: ReturnType<typeof regex>): Principal {
  return { identifier: { case: "authenticated", value: { principalName } } };
}

function anyId(ids: readonly Principal[]): Principal {
  return ids.length === 1 && ids[0] !== undefined
    ? ids[0]
    : { identifier: { case: "orIds", value: { ids: [...ids] } } };
}

function allIds(ids: readonly Principal[]): Principal {
  return ids.length === 1 && ids[0] !== undefined
    ? ids[0]
    : { identifier: { case: "andIds", value: { ids: [...ids] } } };
}

function notId(value: Principal): Principal {
  return { identifier: { case: "notId", value } };
}

// ── what ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function permissionOf({ hosts, ports, methods, paths }: Operation): Permission {
  return allRules([
    ...conditions(hosts, hostRule, anyRule, notRule),
    ...conditions(ports, portRule, anyRule, notRule),
    ...conditions(methods, methodRule, anyRule, notRule),
    ...conditions(paths, pathRule, anyRule, notRule),
  ]);
}

function portRule(value: number): Permission {
  return { rule: { case: "destinationPort", value } };
}

function methodRule(value: string): Permission {
  return headerRule(":method", patternMatcher(value));
}

function pathRule(value: string): Permission {
  return { rule: { case: "urlPath", value: { rule: { case: "path", value: patternMatcher(value) } } } };
}

/**
 * Hosts ignore case, a trailing dot, and the port where the rule names none; `a:*` is Istio's other spelling of that
 * (istio-api §11.1).
 */
function hostRule(value: string): Permission {
  if (value === "*") return headerRule(":authority", regex(".+"));
  const anyPort = value.endsWith(":*") ? value.slice(0, -2) : value;
  const [host = "", port] = anyPort.split(":");
  const end = port === undefined ? String.raw`\.?(:[0-9]+)?` : String.raw`\.?:${escapeRegex(port)}`;
  if (host.startsWith("*")) return headerRule(":authority", regex(`(?i).*${escapeRegex(host.slice(1))}${end}`));
  if (host.endsWith("*")) return headerRule(":authority", regex(`(?i)${escapeRegex(host.slice(0, -1))}.*`));
  return headerRule(":authority", regex(`(?i)${escapeRegex(host)}${end}`));
}

function headerRule(name: string, value: ReturnType<typeof regex>): Permission {
  return { rule: { case: "header", value: { name, headerMatchSpecifier: { case: "stringMatch", value } } } };
}

function anyRule(rules: readonly Permission[]): Permission {
  return rules.length === 1 && rules[0] !== undefined
    ? rules[0]
    : { rule: { case: "orRules", value: { rules: [...rules] } } };
}

/** Without a condition: every operation. */
function allRules(rules: readonly Permission[]): Permission {
  if (rules.length === 0) return { rule: { case: "any", value: true } };
  return rules.length === 1 && rules[0] !== undefined
    ? rules[0]
    : { rule: { case: "andRules", value: { rules: [...rules] } } };
}

function notRule(value: Permission): Permission {
  return { rule: { case: "notRule", value } };
}

/** One of the wanted values, and none of the unwanted: up to two conditions. */
function conditions<T, M>(
  { any, none }: Values<T>,
  matcher: (value: T) => M,
  or: (matchers: readonly M[]) => M,
  not: (matcher: M) => M,
): M[] {
  return [
    ...(any.length === 0 ? [] : [or(any.map(matcher))]),
    ...(none.length === 0 ? [] : [not(or(none.map(matcher)))]),
  ];
}
