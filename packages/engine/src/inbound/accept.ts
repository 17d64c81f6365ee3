import type { Peer } from "../call.ts";
import type { ClusterInfo, FilterChain, InboundListener } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { Layer, Service } from "../service.ts";
import type { ConnectionFacts, InboundChain, InboundSnapshot } from "../snapshot.ts";
import { compileChainMatch } from "./chain-match.ts";
import { connectionPolicy } from "./connection-policy.ts";

/** What an inbound listener is compiled with. */
export interface InboundDeps {
  readonly env: Env;
  /** Telemetry: the outermost layer. */
  readonly observe: Layer;
  /** Of the port, directly before the handler: filters are not the application's load. */
  readonly limit?: Layer | undefined;
  /** The chain's filters and routes around the application's handler. */
  routes(chain: FilterChain): (handler: Service) => Service;
}

/** A bound port of this process, compiled: which chain takes a connection, and what stands before the handler. */
export function compileInbound(listener: InboundListener, deps: InboundDeps): InboundSnapshot {
  const info: ClusterInfo = { name: `inbound|${portOf(listener.name)}||`, service: listener.service };
  const chains = listener.chains.map((config) => ({ match: config.match, value: compileChain(config, info, deps) }));
  const match = compileChainMatch(chains);
  const fallback = listener.defaultChain === undefined ? undefined : compileChain(listener.defaultChain, info, deps);
  return { config: listener, chain: (connection: ConnectionFacts) => match(connection) ?? fallback };
}

function compileChain(config: FilterChain, info: ClusterInfo, deps: InboundDeps): InboundChain {
  const { env } = deps;
  const limit = (config.opaque === true ? undefined : deps.limit) ?? unlimited;
  const routes = deps.routes(config);
  // Before all policy: what is refused for want of time must cost none. A connection is no work by itself.
  const admitted: Layer = (config.opaque === true ? undefined : env.admission?.layer) ?? unlimited;
  const allows = config.opaque === true ? connectionPolicy(config, env) : () => true;
  const admits = (peer: Peer): boolean => refusal(config, peer, env) === undefined && allows(peer);
  // Composed once per handler: adapters ask with each request, for the chain may have changed under a live connection. All
  // of a port's requests have the same one, but for gRPC beside HTTP.
  const services = new WeakMap<Service, Service>();
  let newest: Service | undefined;
  let composed: Service | undefined;
  const serve = (handler: Service): Service => {
    if (handler === newest) return composed!;
    let service = services.get(handler);
    if (service === undefined)
      services.set(handler, (service = deps.observe(identify(config, info, env)(admitted(routes(limit(handler)))))));
    newest = handler;
    return (composed = service);
  };
  return { config, serve, admits };
}

/**
 * Notes who calls and on which port, and lets nobody in whose certificate has ended since the handshake: connections
 * live longer than certificates, and Node does not look again (design, decision 6).
 */
function identify(config: FilterChain, info: ClusterInfo, env: Env): Layer {
  return (inner) => (call, sink) => {
    const { record, peer } = call;
    record.cluster = info;
    record.mtls = peer?.mtls === true;
    record.peerPrincipal = peer?.spiffeId;
    const refused = refusal(config, peer, env);
    if (refused === undefined) inner(call, sink);
    else sink.onError(new MeshError("DENIED", refused));
  };
}

/** Why the peer may not use this chain: what a handshake has checked already, checked again at the time of use. */
function refusal({ tls }: FilterChain, peer: Peer | undefined, env: Env): string | undefined {
  if (tls === undefined) return undefined;
  if (tls.requireClientCertificate && peer?.mtls !== true)
    return "this port asks for a client certificate, and none was verified";
  if (peer?.mtls === true && env.clock.wall() >= peer.notAfterMs) return "the certificate of the peer has expired";
  return undefined;
}

const unlimited: Layer = (inner) => inner;

function portOf(name: string): string {
  return name.slice(name.lastIndexOf(":") + 1);
}
