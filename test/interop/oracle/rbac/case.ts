import type { MessageInitShape } from "@bufbuild/protobuf";
import { RBAC_Action } from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import type { RouteSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RBACPerRouteSchema, RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";

import { any, httpFilter } from "../../../kit/xds-resources.ts";
import type { HttpFilterInit } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";
import { requestHeaders } from "../grammar/headers.ts";
import { query } from "../grammar/queries.ts";
import { bytesOf, host, methods, path } from "../grammar/words.ts";
import type { WireRequest } from "../http1.ts";
import { randomClient } from "./clients.ts";
import type { Client } from "./clients.ts";
import { rbac } from "./policies.ts";
import type { RbacInit } from "./policies.ts";

type RouteInit = Exclude<MessageInitShape<typeof RouteSchema>, { $typeName: string }>;

/** A server with its policy, and who asks what of it. */
export interface RbacCase {
  readonly name: string;
  readonly port: number;
  /** The wire form of docs/wire.md: DENY before ALLOW, each only now and then. */
  readonly filters: readonly HttpFilterInit[];
  /** Without their actions, which differ: to an application here, an answer there. */
  readonly routes: readonly RouteInit[];
  /** Every configuration above, for those who look at what a policy asks. */
  readonly policies: readonly RbacInit[];
  readonly clients: readonly { readonly client: Client; readonly requests: readonly WireRequest[] }[];
}

export function rbacCase(chance: Chance, name: string, port: number, requestsPerClient: number): RbacCase {
  const kinds = chance.pick([["deny"], ["allow"], ["deny", "allow"], ["deny", "allow"]] as const);
  const policies: RbacInit[] = [];
  const make = (kind: "deny" | "allow"): RbacInit => {
    const made = rbac(chance, kind === "deny" ? RBAC_Action.DENY : RBAC_Action.ALLOW, port);
    policies.push(made);
    return made;
  };
  const nameOf = (kind: string): string => `envoy.filters.http.rbac${kind === "deny" ? ".DENY" : ""}`;
  const filters = kinds.map((kind) => httpFilter(nameOf(kind), RBACSchema, make(kind)));
  const routes: RouteInit[] = [{ name: "rest", match: { pathSpecifier: { case: "prefix", value: "/" } } }];
  if (chance.maybe(0.25)) {
    // A route with a policy of its own, or with none (R33, R58).
    const kind = chance.pick(kinds);
    const own = any(RBACPerRouteSchema, chance.maybe(0.3) ? {} : { rbac: make(kind) });
    routes.unshift({
      name: "own",
      match: { pathSpecifier: { case: "prefix", value: "/v1" } },
      typedPerFilterConfig: { [nameOf(kind)]: own },
    });
  }
  const clients = Array.from({ length: 5 }, () => ({
    client: randomClient(chance),
    requests: Array.from({ length: requestsPerClient }, () => request(chance)),
  }));
  return { name, port, filters, routes, policies, clients };
}

/** Hosts come without a port here, and in lower case: there we are wider than Envoy on purpose (docs/interop.md). */
function request(chance: Chance): WireRequest {
  return {
    method: chance.pick(methods),
    target: (chance.maybe(0.2) ? oddPath(chance) : path(chance)) + query(chance),
    host: host(chance).replace(/:\d+$/, ""),
    headers: requestHeaders(chance).map(([name, value]) => [name, bytesOf(value)] as const),
  };
}

/** A path that routers behind may read as another one. */
function oddPath(chance: Chance): string {
  const text = path(chance);
  const at = chance.int(1, text.length);
  return chance.either(
    () => chance.mixCase(text),
    () => `${text.slice(0, at)}/./${text.slice(at)}`,
    () => `${text.slice(0, at)}/../${text.slice(at)}`,
    () => text.replaceAll("/", "//"),
    () => text.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    () => `${text.slice(0, at)}%2f${text.slice(at)}`,
    () => `${text.slice(0, at)};v=1${text.slice(at)}`,
    () => `${text.slice(0, at)}\\${text.slice(at)}`,
    () => `${text.slice(0, at)}%5C${text.slice(at)}`,
    () => `${text}%`,
    () => `${text}%00`,
  );
}
