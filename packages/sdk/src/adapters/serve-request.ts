import { Call, type Clock, type Engine, HeaderList, MeshError, type Transport } from "@trama/engine";

import { contextOf } from "../context.ts";
import { Exchange, type RequestExchange } from "./exchange.ts";
import { checkRequest } from "./request-check.ts";

/** A request in the one form that policy and application both see. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  /** Without what only the mesh may say. */
  readonly flat: readonly string[];
}

/** Brings an HTTP/1.1 request into its one form, or refuses it, and serves it by policy. */
export function serveRequest(exchange: RequestExchange, engine: Engine, clock: Clock): void {
  const { request, connection } = exchange;
  const refusal = checkRequest(request, connection);
  if (refusal !== undefined) {
    if (connection.leave === undefined) {
      connection.closing = true;
      exchange.announceClose();
    }
    exchange.refuse(refusal.status, refusal.reason);
    return;
  }
  request.mesh = connection.mesh;
  serveExchange(exchange, engine, clock, { method: request.method!, path: request.url!, flat: request.rawHeaders });
}

/** Leads a checked request through the policy of its connection's chain, and then into the application. */
export function serveExchange(exchange: Exchange, engine: Engine, clock: Clock, head: RequestHead): void {
  const { connection } = exchange;
  const call = new Call({
    snapshot: engine.current,
    side: "inbound",
    protocol: "http",
    method: head.method,
    authority: connection.host.authority,
    path: head.path,
    headers: HeaderList.ofFlat(head.flat),
    body: exchange,
    transport: noTransport,
    peer: connection.mesh.peer,
    startMs: clock.now(),
  });
  call.record.peerWorkload = connection.workload.believed;
  exchange.context = contextOf(call, connection.hop.timeoutMs, connection.hop.attempt);
  exchange.start(call, connection.chain.serve(Exchange.handler));
}

/** Nothing is sent on from an inbound call; a configuration that wants it has no meaning here. */
const noTransport: Transport = {
  send: (_attempt, sink) => sink.onError(new MeshError("NO_CLUSTER", "an inbound route forwards to a cluster")),
};
