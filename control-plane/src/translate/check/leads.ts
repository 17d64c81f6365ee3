import type { Model } from "../../model/model.ts";
import { type CallerMatch, type RouteTable, applies, isAlwaysOpaque, isOpaque } from "../../model/route.ts";
import type { Service, ServicePort } from "../../model/service.ts";
import { mirrorsOf } from "../../sources/istio/mirror.ts";
import type { DestinationSpec } from "../../sources/istio/route-destination.ts";
import type { Content } from "../../sources/object.ts";
import type { Path } from "../../sources/yaml.ts";
import { callerMatch } from "../istio/virtual-service.ts";

/** A destination that a rule names, and what tells which calls come to it. */
export interface Lead {
  readonly path: Path;
  readonly destination: DestinationSpec;
  readonly list: "http" | "tls" | "tcp";
  /** Of a rule of connections; none: every one. */
  readonly matches: readonly CallerMatch[];
}

export function leadsOf({ spec }: Content<"VirtualService">): readonly Lead[] {
  return [
    ...spec.http.flatMap((rule, index) =>
      [
        ...rule.route.map(({ destination }, at) => ({ path: ["route", at, "destination"], destination })),
        ...mirrorsOf(rule),
      ].map(({ path, destination }): Lead => ({
        path: ["spec", "http", index, ...path],
        destination,
        list: "http",
        matches: [],
      })),
    ),
    ...(["tls", "tcp"] as const).flatMap((list) =>
      spec[list].flatMap(({ match, route }, index) =>
        route.map(({ destination }, at): Lead => ({
          path: ["spec", list, index, "route", at, "destination"],
          destination,
          list,
          matches: match.map(callerMatch),
        })),
      ),
    ),
  ];
}

/** Whether calls of a namespace to a port can come to the destination; `table` is the one that the rule stands in. */
export function comesTo({ list, matches }: Lead, port: ServicePort, table: RouteTable, namespace: string): boolean {
  if (list === "http") return !isOpaque(port, table, { namespace, labels: {} });
  if (!takes(list, port)) return false;
  return matches.length === 0 || matches.some((match) => applies(match, { namespace }, port.number));
}

/** Whether rules of a list can be about a port. */
export function takes(list: "tls" | "tcp", { protocol }: ServicePort): boolean {
  return list === "tcp" ? protocol === "tcp" : protocol === "tls" || protocol === "https";
}

/** Why a rule cannot lead callers of a namespace to a port: requests go to ports of requests, connections to ports of connections. */
export function kindProblem(
  { routes }: Pick<Model, "routes">,
  { list, matches }: Lead,
  { host }: Service,
  port: ServicePort,
  namespace: string,
): string | undefined {
  const table = routes.find(host, namespace);
  const name = `port ${port.number} of ${host}`;
  const speaks = port.protocol.toUpperCase();
  if (list === "http") {
    // Whatever the labels of the caller: in doubt, requests would go out in plaintext.
    if (!isOpaque(port, table, { namespace })) return undefined;
    return isAlwaysOpaque(port)
      ? `${name} is ${speaks}, which takes connections, and http rules lead requests: declare it HTTP, HTTP2 or GRPC, or write ${port.protocol} rules`
      : `${name} is left to the TLS of applications by tls rules, and would get these requests in plaintext: name a port that has none`;
  }
  const callers = matches.length === 0 ? [{}] : matches.map(({ sourceLabels }) => sourceLabels);
  if (callers.every((labels) => isOpaque(port, table, { namespace, labels }))) return undefined;
  return port.protocol === "https"
    ? `${name} is HTTPS, where the mesh itself speaks TLS with the server: declare it TLS`
    : `${name} is ${speaks}, which takes requests, and ${list} rules lead connections: declare it TCP, or write http rules`;
}
