import type { MessageInitShape } from "@bufbuild/protobuf";
import { RBAC_Action } from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import type { PermissionSchema, PolicySchema, PrincipalSchema } from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import type { RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";

import type { Chance } from "../chance.ts";
import { headerMatcher } from "../grammar/headers.ts";
import { stringMatcher } from "../grammar/strings.ts";
import { path } from "../grammar/words.ts";
import { identities, serverNames } from "./clients.ts";

type Plain<T> = Exclude<T, { $typeName: string }>;
export type RbacInit = Plain<MessageInitShape<typeof RBACSchema>>;
type Permission = Plain<MessageInitShape<typeof PermissionSchema>>;
type Principal = Plain<MessageInitShape<typeof PrincipalSchema>>;
type Policy = Plain<MessageInitShape<typeof PolicySchema>>;

/** An RBAC filter: ALLOW, DENY or LOG with some policies, one with none of them, or one without rules. */
export function rbac(chance: Chance, action: RBAC_Action, port: number): RbacInit {
  if (chance.maybe(0.05)) return {};
  const policies = chance.list(0, 4, (): Policy => ({
    permissions: chance.list(1, 2, () => permission(chance, port, 2)),
    principals: chance.list(1, 2, () => principal(chance, 2)),
  }));
  const named = Object.fromEntries(policies.map((policy, at) => [`policy-${at}`, policy]));
  return { rules: { action: chance.maybe(0.05) ? RBAC_Action.LOG : action, policies: named } };
}

function permission(chance: Chance, port: number, depth: number): Permission {
  const some = (): Permission[] => chance.list(1, 3, () => permission(chance, port, depth - 1));
  const leaves: readonly (() => Permission)[] = [
    () => ({ rule: { case: "any", value: true } }),
    () => ({ rule: { case: "header", value: headerMatcher(chance) } }),
    () => ({ rule: { case: "header", value: headerMatcher(chance) } }),
    () => ({ rule: { case: "urlPath", value: urlPath(chance) } }),
    () => ({ rule: { case: "urlPath", value: urlPath(chance) } }),
    () => ({ rule: { case: "destinationPort", value: chance.pick([port, port, 80, port + 1]) } }),
    () => ({
      rule: { case: "destinationPortRange", value: { start: port - chance.int(0, 2), end: port + chance.int(1, 2) } },
    }),
    () => ({ rule: { case: "destinationPortRange", value: { start: port - chance.int(1, 3), end: port } } }),
    () => ({ rule: { case: "destinationIp", value: cidr(chance) } }),
    () => ({ rule: { case: "requestedServerName", value: stringMatcher(chance, (dice) => dice.pick(serverNames)) } }),
    () => ({ rule: { case: "metadata", value: absentMetadata(chance) } }),
  ];
  if (depth === 0 || chance.maybe(0.6)) return chance.either(...leaves);
  return chance.either<Permission>(
    () => ({ rule: { case: "andRules", value: { rules: some() } } }),
    () => ({ rule: { case: "orRules", value: { rules: some() } } }),
    () => ({ rule: { case: "notRule", value: permission(chance, port, depth - 1) } }),
  );
}

function principal(chance: Chance, depth: number): Principal {
  const some = (): Principal[] => chance.list(1, 3, () => principal(chance, depth - 1));
  const leaves: readonly (() => Principal)[] = [
    () => ({ identifier: { case: "any", value: true } }),
    () => ({ identifier: { case: "authenticated", value: {} } }),
    () => ({ identifier: { case: "authenticated", value: { principalName: stringMatcher(chance, name) } } }),
    () => ({ identifier: { case: "authenticated", value: { principalName: stringMatcher(chance, name) } } }),
    () => ({ identifier: { case: "authenticated", value: { principalName: stringMatcher(chance, name) } } }),
    () => ({ identifier: { case: "directRemoteIp", value: cidr(chance) } }),
    () => ({ identifier: { case: "remoteIp", value: cidr(chance) } }),
    () => ({ identifier: { case: "sourceIp", value: cidr(chance) } }),
    () => ({ identifier: { case: "header", value: headerMatcher(chance) } }),
    () => ({ identifier: { case: "urlPath", value: urlPath(chance) } }),
    () => ({ identifier: { case: "metadata", value: absentMetadata(chance) } }),
  ];
  if (depth === 0 || chance.maybe(0.6)) return chance.either(...leaves);
  return chance.either<Principal>(
    () => ({ identifier: { case: "andIds", value: { ids: some() } } }),
    () => ({ identifier: { case: "orIds", value: { ids: some() } } }),
    () => ({ identifier: { case: "notId", value: principal(chance, depth - 1) } }),
  );
}

/** Names of clients, and one that lacks its scheme: it is nobody's (R54). */
function name(chance: Chance): string {
  return chance.maybe(0.1) ? "cluster.local/ns/shop/sa/web" : chance.pick(identities);
}

type UrlPath = Extract<NonNullable<Permission["rule"]>, { case: "urlPath" }>["value"];
type CidrInit = Extract<NonNullable<Permission["rule"]>, { case: "destinationIp" }>["value"];
type Metadata = Extract<NonNullable<Permission["rule"]>, { case: "metadata" }>["value"];

function urlPath(chance: Chance): UrlPath {
  return { rule: { case: "path", value: stringMatcher(chance, path) } };
}

/** No IPv4-mapped blocks: we read them as IPv4 (R55), Envoy as IPv6; docs/interop.md. */
function cidr(chance: Chance): CidrInit {
  const [addressPrefix, bits] = chance.pick([
    ["127.0.0.1", [32, 32, 31, 24]],
    ["127.0.0.2", [32, 31, 30]],
    ["127.0.1.7", [32, 24, 16, 8]],
    ["10.0.0.0", [8, 0]],
    ["::1", [128, 64]],
  ] as const);
  return chance.maybe(0.05) ? { addressPrefix } : { addressPrefix, prefixLen: chance.pick<number>(bits) };
}

/** Nobody writes metadata here, so it is never met, and its inversion always is (R57). */
function absentMetadata(chance: Chance): Metadata {
  return {
    filter: "nobody",
    path: [{ segment: { case: "key", value: "k" } }],
    value: { matchPattern: { case: "stringMatch", value: { matchPattern: { case: "exact", value: "x" } } } },
    invert: chance.maybe(),
  };
}
