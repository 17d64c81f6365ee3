import type {
  ClusterInfo,
  FilterConfig,
  FilterOverrides,
  ForwardAction,
  RouteConfig,
  RouteConfiguration,
  VirtualHost,
} from "../config.ts";
import type { Call } from "../call.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { compileHash } from "../hash/call-key.ts";
import { keyed } from "../hash/keyed.ts";
import { pathOf } from "../match/path.ts";
import type { FilterState, LocalReply } from "../policy/filter.ts";
import { answerLocally } from "../policy/local-reply.ts";
import { layersOf } from "../policy/overrides.ts";
import type { LayerFor } from "../policy/overrides.ts";
import type { Layer, Service } from "../service.ts";
import { attemptCountLayer } from "./attempt-count.ts";
import { deadlineLayer } from "./deadline.ts";
import type { ForwardTarget } from "./forward-target.ts";
import { idleLayer } from "./idle.ts";
import { hasHeaderOperations, headerEditors, headerLayer } from "./header-operations.ts";
import { type MirrorState, mirrorLayer } from "./mirror.ts";
import { redirectService } from "./redirect.ts";
import { rewriteLayer } from "./rewrite.ts";
import { compileRouteTable } from "./route-table.ts";
import type { RouteFinder } from "./route-table.ts";
import { compileSplit } from "./split.ts";
import { compileHosts, withoutPort } from "./virtual-host.ts";

/** What routes are compiled against: one consistent configuration. */
export interface RouterDeps {
  readonly env: Env;
  /** The listener's filters, in xDS order. */
  readonly filters: readonly FilterConfig[];
  readonly state: FilterState;
  /** Absent: nothing is mirrored. */
  readonly mirrors?: MirrorState | undefined;
  /** `undefined`: nothing is known of such a cluster; its routes answer NO_CLUSTER. */
  cluster(name: string): ForwardTarget | undefined;
}

/**
 * Outbound: virtual host → route → weighted cluster ⇒ that pair's ready-made service, which is, from the caller down:
 * the record (so that whatever ends the call is told under its route), the filters (chosen per weighted cluster, hence
 * after the split), the header operations and the rewrites (filters see what the application wrote; values are made out of
 * what was not rewritten yet), the deadline (an injected delay is not part of it), the mirrors (a copy is of what is sent, and one
 * for all attempts), the cluster with its retries.
 */
export function compileRoutes(config: RouteConfiguration, deps: RouterDeps): Service {
  const layers = layersOf(deps.filters, deps.env, deps.state);
  const find = compileTable(config, deps.env, (host, route) => outboundAction({ config, host, route }, deps, layers));
  return (call, sink) => {
    if (call.aborted !== undefined) return sink.onError(call.aborted);
    const service = find(call);
    if (service === undefined) return sink.onError(noRoute(call, config));
    service(call, sink);
  };
}

/**
 * Inbound: virtual host → route ⇒ its filters, then the application's own handler. Only `non_forwarding` serves; any other
 * action on a server is a fault of the configuration and is answered with UNAVAILABLE, never passed on (R62).
 */
export function compileInboundRoutes(config: RouteConfiguration, deps: RouterDeps): (handler: Service) => Service {
  const layers = layersOf(deps.filters, deps.env, deps.state);
  const actions: Layer[] = [];
  const find = compileTable(
    config,
    deps.env,
    (host, route) => actions.push(inboundAction({ config, host, route }, layers)) - 1,
  );
  return (handler) => {
    const services = actions.map((layer) => layer(handler));
    return (call, sink) => {
      if (call.aborted !== undefined) return sink.onError(call.aborted);
      const action = find(call);
      if (action === undefined) return sink.onError(noRoute(call, config));
      services[action]!(call, sink);
    };
  };
}

/** Both look-ups in one: the virtual host by authority, the route by the rest. */
function compileTable<T>(
  config: RouteConfiguration,
  env: Env,
  action: (host: VirtualHost, route: RouteConfig) => T,
): (call: Call) => T | undefined {
  const hosts = compileHosts<RouteFinder<T>>(
    config.virtualHosts.map((host) => ({
      domains: host.domains,
      value: compileRouteTable(
        host.routes.map((route) => ({ match: route.match, value: action(host, route) })),
        env,
      ),
    })),
  );
  if (config.ignorePort === true) return (call) => hosts(withoutPort(call.authority))?.(call, pathOf(call.path));
  return (call) => hosts(call.authority)?.(call, pathOf(call.path));
}

/** A route, with the levels above it. */
interface Place {
  readonly config: RouteConfiguration;
  readonly host: VirtualHost;
  readonly route: RouteConfig;
}

function outboundAction(place: Place, deps: RouterDeps, layers: LayerFor): Service {
  const { config, host, route } = place;
  const { action } = route;
  switch (action.kind) {
    case "forward":
      return forward(place, action, deps, layers);
    case "direct": {
      const { status, body } = action;
      const reply: LocalReply = body === undefined ? { status, flag: "-" } : { status, body, flag: "-" };
      const edit = headerEditors(config, host, route).response;
      const answer: Service = (call, sink) => answerLocally(call, sink, reply, edit);
      return recorded(route.name, layers(ownAnswer(place))(answer));
    }
    case "redirect": {
      const edit = headerEditors(config, host, route).response;
      const answer = redirectService(route, action, edit, deps.env);
      return recorded(route.name, layers(ownAnswer(place))(answer));
    }
    case "non_forwarding":
      return wrongSide(`route "${route.name}" has no upstream: non_forwarding_action belongs on a server`);
  }
}

function forward(place: Place, action: ForwardAction, deps: RouterDeps, layers: LayerFor): Service {
  const { config, host, route } = place;
  // The route's retry policy replaces the virtual host's as a whole (R40).
  const retry = action.retry ?? host.retry;
  const hedge = action.hedge ?? host.hedge;
  const deadline = deadlineOf(action, deps.env);
  const idle = action.idleTimeoutMs === undefined ? undefined : idleLayer(action.idleTimeoutMs, deps.env);
  const mirror = mirrorLayer(action.mirrors, deps);
  const counted = attemptCountLayer(host.attemptCount);
  const hash = compileHash(action.hash, deps.env, () => deps.state.counter("channel"));
  const withKey: Layer = hash === undefined ? (inner) => inner : keyed(hash);
  const service = (target: ForwardTarget): Service => {
    const inner = withKey(target.service(retry, hedge));
    return counted === undefined ? inner : counted(inner);
  };
  const pairs = action.clusters.map((weighted) => {
    const { name, weight, overrides } = weighted;
    const levels: FilterOverrides[] = [overrides, route.overrides, host.overrides];
    const target = deps.cluster(name);
    const sent = target === undefined ? undefined : service(target);
    const upstream = sent === undefined ? noCluster(name) : deadline(mirror?.(sent) ?? sent);
    const rewritten = rewriteLayer(route, action, deps.env)?.(upstream) ?? upstream;
    const editors = headerEditors(config, host, route, weighted);
    const edited = headerLayer(editors)?.(rewritten) ?? rewritten;
    const cluster = target?.config ?? { name, service: undefined };
    const filtered = layers(levels, editors.response)(edited);
    return { weight, value: recorded(route.name, idle?.(filtered) ?? filtered, cluster) };
  });
  if (pairs.length === 1) return pairs[0]!.value;
  const split = compileSplit(pairs);
  if (split === undefined) return wrongSide(`the clusters of route "${route.name}" have no weight (R35)`);
  const { random } = deps.env;
  return (call, sink) => split(random)(call, sink);
}

/**
 * The filters of a route that answers by itself. In Envoy it has no upstream that could be asked for the policy of CORS, and what its filters
 * answer (a fault) is not touched by its header operations.
 */
function ownAnswer({ host, route }: Place): readonly FilterOverrides[] {
  return [route.overrides, host.overrides].map((overrides) => {
    const others = [...overrides].filter(([, config]) => config === "off" || config.kind !== "cors");
    return others.length === overrides.size ? overrides : new Map(others);
  });
}

/** gRPC does not read the route's `timeout` but the limits that are meant for streams (R37). */
function deadlineOf({ timeoutMs, grpcTimeoutMs }: ForwardAction, env: Env): Layer {
  const http = deadlineLayer(timeoutMs, env);
  if (grpcTimeoutMs === timeoutMs) return http;
  const grpc = deadlineLayer(grpcTimeoutMs, env);
  return (inner) => {
    const forHttp = http(inner);
    const forGrpc = grpc(inner);
    return (call, sink) => (call.protocol === "grpc" ? forGrpc : forHttp)(call, sink);
  };
}

function inboundAction({ config, host, route }: Place, layers: LayerFor): Layer {
  if (hasHeaderOperations(config, host, route)) {
    // The application answers by itself and reads what the network brought (docs/adr/0003).
    const refuse = wrongSide(`route "${route.name}" of a server changes headers, which only a client's route can`);
    return () => refuse;
  }
  if (route.action.kind !== "non_forwarding") {
    const refuse = wrongSide(
      `route "${route.name}" of a server must be non_forwarding_action, not ${route.action.kind}`,
    );
    return () => refuse;
  }
  const filters = layers([route.overrides, host.overrides]);
  return (handler) => recorded(route.name, filters(handler));
}

/** Writes down where the call goes before anything can end it. */
function recorded(route: string, inner: Service, cluster?: ClusterInfo): Service {
  return (call, sink) => {
    call.record.route = route;
    if (cluster !== undefined) call.record.cluster = cluster;
    inner(call, sink);
  };
}

/** UNAVAILABLE in gRPC's terms, 503 in HTTP's. */
function wrongSide(message: string): Service {
  return (_call, sink) => sink.onError(new MeshError("PROTOCOL_ERROR", message, { status: 503 }));
}

function noCluster(name: string): Service {
  return (_call, sink) =>
    sink.onError(new MeshError("NO_CLUSTER", `the route leads to cluster "${name}", which does not exist`));
}

/** Names the configuration and the host, not the path: paths carry what does not belong into logs. */
function noRoute(call: Call, config: RouteConfiguration): MeshError {
  if (call.protocol === "tcp") {
    const asked = call.authority === "" ? "without a server name" : `for the server name "${call.authority}"`;
    return new MeshError("NO_ROUTE", `no rule of "${config.name}" takes a connection ${asked}`);
  }
  return new MeshError("NO_ROUTE", `no route of "${config.name}" takes ${call.method} for host "${call.authority}"`);
}
