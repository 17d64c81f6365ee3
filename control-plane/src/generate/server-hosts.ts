import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteSchema, VirtualHostSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { type Model, endpointsBehind } from "../model/model.ts";
import type { RouteTable, RuleMatch } from "../model/route.ts";
import { type Service, endpointPort } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import { corsFilterName, corsOverride } from "./cors.ts";
import { spellings } from "./names.ts";
import { routeMatch } from "./route-match.ts";

/** CORS of a service behind a port of a workload: its rules, as far as a server can tell which of them a request falls under. */
export interface OwnCors {
  readonly service: Service;
  readonly table: RouteTable;
  /** Those of the service that lead to the workload's port; at least one. */
  readonly ports: readonly number[];
}

/** A browser comes without a mesh of its own: the server is the only place where the policy of its service can meet it. */
export function ownCors(model: Model, node: NodeView, port: number, services: readonly Service[]): readonly OwnCors[] {
  return services.flatMap((service) => {
    const table = model.routes.find(service.host, node.namespace);
    if (table === undefined || table.rules.every(({ cors }) => cors === undefined)) return [];
    const endpoints = endpointsBehind(model, service);
    const leading = service.ports.filter((each) => endpoints.some((one) => endpointPort(one, each) === port));
    return [{ service, table, ports: leading.map(({ number }) => number) }];
  });
}

type RouteInit = MessageInitShape<typeof RouteSchema>;
type HostInit = MessageInitShape<typeof VirtualHostSchema>;

/**
 * Virtual hosts of a server: by name where several services with CORS are behind a port, else for whatever name the browser knows the
 * server by. `action` is what its requests go on to.
 */
export function serverHosts(
  { mesh }: Pick<Model, "mesh">,
  own: readonly OwnCors[],
  action: NonNullable<RouteInit["action"]>,
): HostInit[] {
  const rest: RouteInit = { name: "default", match: { pathSpecifier: { case: "prefix", value: "/" } }, action };
  const routesOf = ({ table, ports }: OwnCors): RouteInit[] => [
    ...table.rules.flatMap(({ name, matches, cors }) => {
      const alternatives: readonly (RuleMatch | undefined)[] = matches.length === 0 ? [undefined] : matches;
      return alternatives
        .filter((match) => knownToServer(match, ports))
        .map((match): RouteInit => ({
          name: [name, match?.name ?? ""].filter((part) => part !== "").join("."),
          match: routeMatch(match, ports[0] ?? 0, "trama"),
          action,
          typedPerFilterConfig: cors === undefined ? {} : { [corsFilterName]: corsOverride(cors) },
        }));
    }),
    rest,
  ];
  const [only] = own;
  if (own.length < 2)
    return [{ name: "inbound", domains: ["*"], routes: only === undefined ? [rest] : routesOf(only) }];
  return [
    ...own.map((each) => ({
      name: each.service.host,
      domains: spellings(mesh, each.service, each.service.namespace).flatMap((name) => [
        name,
        ...each.ports.map((port) => `${name}:${port}`),
      ]),
      routes: routesOf(each),
    })),
    { name: "inbound", domains: ["*"], routes: [rest] },
  ];
}

/** A condition on the caller's workload cannot be put to a browser; such a match is not for it. */
function knownToServer(match: RuleMatch | undefined, ports: readonly number[]): boolean {
  return (
    match === undefined ||
    (match.inMesh &&
      (match.port === undefined || ports.includes(match.port)) &&
      match.sourceNamespace === undefined &&
      Object.keys(match.sourceLabels).length === 0)
  );
}
