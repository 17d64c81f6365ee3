import type { Call, Traffic } from "../call.ts";
import type { MetricFamily } from "./families.ts";
import { endsOnly } from "./labels.ts";
import type { Labels } from "./labels.ts";
import type { Merged } from "./merged.ts";
import { packOutcome } from "./outcome.ts";
import type { OutcomeLabels } from "./outcome.ts";
import type { ConnectionCounts } from "./series.ts";

/** What has been counted of a connection while it is open. */
interface Counted extends Traffic {
  readonly opened: boolean;
}

const nothing: Counted = { request: 0, response: 0, opened: false };
const none: Traffic = { request: 0, response: 0 };

/**
 * Connections that are open (calls of protocol `tcp`). They may stay so for days: what went over them is added when somebody reads the
 * counters, and when they end. Envoy adds it every five seconds.
 */
export class OpenConnections {
  readonly #counted = new Map<Call, Counted>();

  add(call: Call): void {
    this.#counted.set(call, nothing);
  }

  /** Adds to `counts` what happened since the last time; a counter never falls. */
  count(call: Call, counts: ConnectionCounts): void {
    const before = this.#counted.get(call) ?? nothing;
    const { request, response } = call.body.traffic?.() ?? none;
    counts.request += Math.max(0, request - before.request);
    counts.response += Math.max(0, response - before.response);
    if (!before.opened) counts.opened++;
    this.#counted.set(call, { request, response, opened: true });
  }

  /** It has ended. */
  close(call: Call, counts: ConnectionCounts): void {
    this.count(call, counts);
    counts.closed++;
    this.#counted.delete(call);
  }

  /** Those of which it is known who is at the other end. */
  *known(): Iterable<Call> {
    for (const call of this.#counted.keys()) if (call.side === "inbound" || call.record.reached) yield call;
  }
}

/** How a connection ended, without the status that it has not. */
export function connectionOutcome(call: Call): number {
  return packOutcome(call) & ~0x3ff;
}

/** Istio's labels of TCP metrics: those of requests without the ones about an answer (istio-api §18.2). */
export function connectionLabels(labels: Labels, { flag }: OutcomeLabels): Labels {
  return {
    ...endsOnly(labels),
    request_protocol: "tcp",
    response_flags: flag,
    connection_security_policy: labels["connection_security_policy"]!,
  };
}

/** Istio's four; its names for the directions are those of requests and answers: received by the server, sent by it. */
export function connectionFamilies(found: Merged<ConnectionCounts>): MetricFamily[] {
  const family = (name: string, help: string, value: (counts: ConnectionCounts) => number): MetricFamily => ({
    name,
    help,
    type: "counter",
    series: found.map((labels, counts) => ({ labels, value: value(counts) })),
  });
  return [
    family("istio_tcp_connections_opened_total", "Connections of opaque ports that were opened.", (c) => c.opened),
    family("istio_tcp_connections_closed_total", "Connections of opaque ports that were closed.", (c) => c.closed),
    family("istio_tcp_received_bytes_total", "Bytes from clients to servers of opaque ports.", (c) => c.request),
    family("istio_tcp_sent_bytes_total", "Bytes from servers of opaque ports to clients.", (c) => c.response),
  ];
}
