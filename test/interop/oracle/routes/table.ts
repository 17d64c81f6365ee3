import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import type { Chance } from "../chance.ts";
import { domains } from "../grammar/domains.ts";
import { requestHeaders } from "../grammar/headers.ts";
import { mutations } from "../grammar/mutations.ts";
import { originFields } from "../grammar/origins.ts";
import { query } from "../grammar/queries.ts";
import { bytesOf, host, methods, path } from "../grammar/words.ts";
import type { WireRequest } from "../http1.ts";
import type { Draft, RouteInit } from "./feature.ts";
import { action } from "./features/action.ts";
import { features } from "./features/index.ts";

export type RoutesInit = Exclude<MessageInitShape<typeof RouteConfigurationSchema>, { $typeName: string }>;

/** Some virtual hosts with some routes each. Every route has a name of its own, so that the one that took a request is known. */
export function routeTable(chance: Chance, name: string): RoutesInit {
  const hosts = domains(chance, chance.int(1, 5)).map((list, at) => ({
    name: `host-${at}`,
    domains: list,
    routes: [
      ...chance.list(1, 8, (index) => route(chance, `${at}.${index}`)),
      ...(chance.maybe(0.4) ? [catchAll(chance, `${at}.rest`)] : []),
    ],
  }));
  // Most requests must find a host, else only one thing is compared.
  if (chance.maybe(0.7) && !hosts.some((each) => each.domains.includes("*"))) hosts[0]!.domains.push("*");
  const table: RoutesInit = { name, virtualHosts: hosts, ignorePortInHostMatching: chance.maybe(0.2) };
  for (const each of hosts) if (chance.maybe(0.3)) Object.assign(each, mutations(chance));
  // Answers of the whole configuration carry what tells us of Envoy's decision.
  if (chance.maybe(0.3)) {
    const { requestHeadersToAdd = [], requestHeadersToRemove = [] } = mutations(chance);
    Object.assign(table, { requestHeadersToAdd, requestHeadersToRemove });
  }
  table.mostSpecificHeaderMutationsWins = chance.maybe();
  return table;
}

function catchAll(chance: Chance, name: string): RouteInit {
  const draft: Draft = { route: { name }, match: {} };
  action(draft, chance);
  return { ...draft.route, match: { pathSpecifier: { case: "prefix", value: "/" } } };
}

function route(chance: Chance, name: string): RouteInit {
  const draft: Draft = { route: { name }, match: {} };
  for (const feature of features) feature(draft, chance);
  return { ...draft.route, match: draft.match };
}

export function request(chance: Chance): WireRequest {
  return {
    method: chance.pick(methods),
    target: path(chance) + query(chance),
    host: host(chance),
    headers: [...requestHeaders(chance), ...originFields(chance)].map(
      ([name, value]) => [name, bytesOf(value)] as const,
    ),
  };
}
