import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteMatchSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RE2JS } from "re2js";

import type { RuleMatch } from "../model/route.ts";
import type { NodeView } from "../snapshot.ts";
import { escapeRegex, headerMatcher, negatedHeaderMatcher, stringMatcher } from "./match.ts";

/** gRPC's libraries know no scheme. What a call over the mesh has is `http`, as in an Envoy that takes it from the application. */
export function isPlain({ scheme }: RuleMatch): boolean {
  switch (scheme?.kind) {
    case "exact":
      return scheme.value === "http";
    case "prefix":
      return "http".startsWith(scheme.value);
    case "regex":
      return RE2JS.compile(scheme.value).matches("http");
    default:
      return true;
  }
}

export function routeMatch(
  match: RuleMatch | undefined,
  port: number,
  kind: NodeView["kind"],
): MessageInitShape<typeof RouteMatchSchema> {
  if (match === undefined) return { pathSpecifier: { case: "prefix", value: "/" } };
  return {
    pathSpecifier: pathSpecifier(match),
    ...(match.ignorePathCase && match.path?.kind !== "regex" ? { caseSensitive: false } : {}),
    headers: [
      ...(match.scheme === undefined || kind === "grpc" ? [] : [headerMatcher(":scheme", match.scheme)]),
      ...(match.method === undefined ? [] : [headerMatcher(":method", match.method)]),
      ...(match.authority === undefined ? [] : [authorityMatcher(match.authority, port)]),
      ...match.headers.map(({ name, match: condition, negated }) =>
        negated ? negatedHeaderMatcher(name, condition) : headerMatcher(name, condition),
      ),
    ],
    queryParameters: match.query.map(({ name, match: condition }) => ({
      name,
      queryParameterMatchSpecifier:
        condition.kind === "present"
          ? { case: "presentMatch", value: true }
          : { case: "stringMatch", value: stringMatcher(condition) },
    })),
  };
}

function pathSpecifier({ path }: RuleMatch): MessageInitShape<typeof RouteMatchSchema>["pathSpecifier"] & {} {
  switch (path?.kind) {
    case "exact":
      return { case: "path", value: path.value };
    case "regex":
      return { case: "safeRegex", value: { regex: path.value } };
    case "prefix":
      return { case: "prefix", value: path.value };
    default:
      return { case: "prefix", value: "/" };
  }
}

/** Clients send the authority with the port or without it; an exact name without one means both (istio-api §2.3). */
function authorityMatcher(match: NonNullable<RuleMatch["authority"]>, port: number): ReturnType<typeof headerMatcher> {
  if (match.kind !== "exact" || /:\d+$/.test(match.value)) return headerMatcher(":authority", match);
  return headerMatcher(":authority", { kind: "regex", value: `${escapeRegex(match.value)}(:${port})?` });
}
