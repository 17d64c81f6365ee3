import type {
  HeaderOperations,
  PathMatch,
  RouteAction,
  RouteConfig,
  RouteConfiguration,
  RouteMatch,
  VirtualHost,
} from "@trama/engine";
import { RouteConfigurationSchema, typeUrls } from "@trama/proto/lean";
import type { DataSource } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type {
  DirectResponseAction,
  Route,
  RouteMatch as ProtoRouteMatch,
  VirtualHost as ProtoVirtualHost,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { RouteConfiguration as ProtoRouteConfiguration } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import { decode } from "./any.ts";
import { ResourceError, each, unsupported, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { overrides } from "./filters/overrides.ts";
import { type HeaderFields, headerFields, headerOperations } from "./header-operations.ts";
import { headerMatch, perMillion, queryMatch, regexOf } from "./match.ts";
import { retryPolicy } from "./retry.ts";
import { redirect } from "./redirect.ts";
import { forwardAction, hedgePolicy } from "./route-action.ts";
import { routeHints } from "./route-hints.ts";
import type { DecodeOptions, ResourceType } from "./type.ts";

export const routeType: ResourceType<RouteConfiguration> = {
  typeUrl: typeUrls.routeConfiguration,
  decode(bytes, options) {
    const value = routeConfiguration(decode(RouteConfigurationSchema, bytes), options);
    return { name: value.name, value };
  },
};

/** Also the inline one of a listener. */
export function routeConfiguration(config: ProtoRouteConfiguration, options: DecodeOptions): RouteConfiguration {
  onlyFields(
    config,
    [
      "name",
      "virtualHosts",
      "typedPerFilterConfig",
      "ignorePortInHostMatching",
      "mostSpecificHeaderMutationsWins",
      ...headerFields,
    ],
    // About the server's own checks.
    ["validateClusters", "maxDirectResponseBodySizeBytes", "metadata"],
  );
  // Below all others: what the whole configuration says counts where no virtual host says something (R33).
  const base = within("typed_per_filter_config", () => overrides(config.typedPerFilterConfig, options));
  const virtualHosts = each("virtual_hosts", config.virtualHosts, (host) => {
    const read = virtualHost(host, options);
    return base.size === 0 ? read : { ...read, overrides: new Map([...base, ...read.overrides]) };
  });
  uniqueDomains(virtualHosts);
  return {
    name: config.name,
    virtualHosts,
    ...(config.ignorePortInHostMatching && { ignorePort: true }),
    ...(config.mostSpecificHeaderMutationsWins && { mostSpecificHeadersLast: true }),
    ...withHeaders(config),
  };
}

/** Left out where nothing is said: equal routes are then equal objects. */
function withHeaders(message: HeaderFields): { readonly headers?: HeaderOperations } {
  const headers = headerOperations(message);
  return headers === undefined ? {} : { headers };
}

/** A domain decides for one virtual host; twice the same would make the choice depend on order. */
function uniqueDomains(hosts: readonly VirtualHost[]): void {
  const seen = new Set<string>();
  for (const host of hosts) {
    for (const domain of host.domains) {
      if (seen.has(domain)) throw new ResourceError(`virtual_hosts: domain ${JSON.stringify(domain)} is there twice`);
      seen.add(domain);
    }
  }
}

function virtualHost(host: ProtoVirtualHost, options: DecodeOptions): VirtualHost {
  onlyFields(
    host,
    [
      "name",
      "domains",
      "routes",
      "retryPolicy",
      "hedgePolicy",
      "typedPerFilterConfig",
      "includeRequestAttemptCount",
      "includeAttemptCountInResponse",
      ...headerFields,
    ],
    // Notes for people, statistics, and a header that only tells of retries.
    ["metadata", "virtualClusters", "includeIsTimeoutRetryHeader", "perRequestBufferLimitBytes"],
  );
  if (host.domains.length === 0) throw new ResourceError("domains is empty; a virtual host needs at least one");
  return {
    name: host.name,
    domains: [...new Set(host.domains.map(domain))],
    routes: each("routes", host.routes, (one) => route(one, options)),
    retry: host.retryPolicy && within("retry_policy", () => retryPolicy(host.retryPolicy!, options)),
    ...(host.hedgePolicy && { hedge: within("hedge_policy", () => hedgePolicy(host.hedgePolicy!)) }),
    ...((host.includeRequestAttemptCount || host.includeAttemptCountInResponse) && {
      attemptCount: { request: host.includeRequestAttemptCount, response: host.includeAttemptCountInResponse },
    }),
    overrides: within("typed_per_filter_config", () => overrides(host.typedPerFilterConfig, options)),
    ...withHeaders(host),
  };
}

/** R28: exact, `*suffix`, `prefix*` or `*`. */
function domain(written: string): string {
  const text = written.toLowerCase();
  const star = text.indexOf("*");
  if (text === "") throw new ResourceError("a domain is empty");
  if (star !== -1 && (text.includes("*", star + 1) || (star !== 0 && star !== text.length - 1))) {
    throw new ResourceError(`domain ${JSON.stringify(written)} has its * in the middle; it may be first or last only`);
  }
  return text;
}

function route(message: Route, options: DecodeOptions): RouteConfig {
  onlyFields(
    message,
    ["name", "match", "action", "typedPerFilterConfig", "metadata", ...headerFields],
    ["decorator", "tracing", "perRequestBufferLimitBytes", "statPrefix"],
  );
  if (message.match === undefined) throw new ResourceError("match is missing");
  const { match } = message;
  return {
    name: message.name,
    match: within("match", () => routeMatch(match, options)),
    action: action(message, options),
    overrides: within("typed_per_filter_config", () => overrides(message.typedPerFilterConfig, options)),
    ...withHeaders(message),
  };
}

function action({ action: one, metadata }: Route, options: DecodeOptions): RouteAction {
  switch (one.case) {
    case "route": {
      const hints = within("metadata", () => routeHints(metadata));
      return within("route", () => forwardAction(one.value, hints, options));
    }
    case "directResponse":
      return within("direct_response", () => directResponse(one.value));
    case "nonForwardingAction":
      return { kind: "non_forwarding" };
    case "redirect":
      return within("redirect", () => redirect(one.value, options));
    case "filterAction":
      return unsupported("filter_action");
    case undefined:
      throw new ResourceError("the route has no action, or one that this release does not know");
  }
}

function directResponse(message: DirectResponseAction): RouteAction {
  onlyFields(message, ["status", "body"]);
  const { status } = message;
  if (status < 200 || status > 599) throw new ResourceError(`status ${status} is not between 200 and 599`);
  return { kind: "direct", status, body: message.body && within("body", () => bytesOf(message.body!)) };
}

function bytesOf({ specifier }: DataSource): Uint8Array | undefined {
  switch (specifier.case) {
    case "inlineBytes":
      return new Uint8Array(specifier.value); // a copy: the wire's buffer is not kept alive for it
    case "inlineString":
      return new TextEncoder().encode(specifier.value);
    case undefined:
      return undefined;
    default:
      return unsupported(specifier.case === "filename" ? "filename" : "environment_variable");
  }
}

// ── match ────────────────────────────────────────────────────────────────────────────────────────────────────────

function routeMatch(match: ProtoRouteMatch, options: DecodeOptions): RouteMatch {
  onlyFields(match, ["pathSpecifier", "caseSensitive", "runtimeFraction", "headers", "queryParameters"]);
  // Only the default value counts: there is no runtime here that could hold another (R32).
  const fraction = match.runtimeFraction?.defaultValue;
  return {
    path: pathMatch(match, options),
    headers: each("headers", match.headers, (one) => headerMatch(one, options)),
    query: each("query_parameters", match.queryParameters, (one) => queryMatch(one, options)),
    fractionPerMillion:
      match.runtimeFraction === undefined
        ? undefined
        : within("runtime_fraction", () => (fraction ? perMillion(fraction) : 0)),
  };
}

function pathMatch(match: ProtoRouteMatch, options: DecodeOptions): PathMatch {
  const { pathSpecifier: path } = match;
  const ignoreCase = match.caseSensitive === false;
  switch (path.case) {
    case "prefix":
      return { kind: "prefix", value: path.value, ignoreCase };
    case "path":
      return { kind: "exact", value: path.value, ignoreCase };
    case "pathSeparatedPrefix":
      if (!/^[^?#]+[^?#/]$/.test(path.value)) {
        throw new ResourceError("path_separated_prefix must not hold ? or #, nor end with /");
      }
      return { kind: "segments", value: path.value, ignoreCase };
    case "safeRegex":
      return { kind: "regex", value: regexOf(path.value, options) };
    case "connectMatcher":
    case "pathMatchPolicy":
      return unsupported(path.case === "connectMatcher" ? "connect_matcher" : "path_match_policy");
    case undefined:
      throw new ResourceError("the path matcher is missing, or of a kind that this release does not know");
  }
}
