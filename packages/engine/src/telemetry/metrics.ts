import type { Call } from "../call.ts";
import type { Telemetry } from "../env.ts";
import { connectionFamilies, connectionLabels, connectionOutcome, OpenConnections } from "./connections.ts";
import type { HistogramSeries, MetricFamily } from "./families.ts";
import { clientLabels, endsOnly, overflowLabels, serverLabels, withOperation } from "./labels.ts";
import type { Labels, OwnWorkload } from "./labels.ts";
import { Merged } from "./merged.ts";
import { MirrorCounts } from "./mirrors.ts";
import { noOperation, Operations } from "./operations.ts";
import { outcomeRange, packOutcome, unpackOutcome } from "./outcome.ts";
import { Cell, ConnectionCounts, durationBounds, MessageCounts, SeriesTable } from "./series.ts";
import type { Group } from "./series.ts";

export interface MeshMetrics extends Telemetry {
  onOpen(call: Call): void;
  collect(): MetricFamily[];
}

export interface MetricsOptions {
  /**
   * Most series of each side; what is new past it is counted in one series whose labels are `other`. Default 2,000:
   * 50 workloads × 40 outcomes. A series costs about 300 bytes.
   */
  readonly maxSeries?: number;
  /**
   * How many gRPC methods are told apart by a label `request_operation` (Istio's own name for it, where a `tagOverrides` adds it); the
   * ones past it, and those that nobody registered, are `other`. Default 0: no such label.
   */
  readonly maxOperations?: number;
}

/**
 * Istio's service metrics. Requests and durations are counted once per call when it ends; messages of a gRPC call, and connections of
 * opaque ports with their bytes, also while they are open. Envoy adds those every five seconds. Nobody sees a counter before it is read, so here the reader adds what the open calls
 * have had since: no timer runs, and a message costs an increment. Recording finds a cell and adds to it: no label is built
 * before somebody collects.
 */
export function createMetrics(own: Readonly<OwnWorkload>, options: MetricsOptions = {}): MeshMetrics {
  const max = options.maxSeries ?? 2_000;
  const client = new SeriesTable(max);
  const server = new SeriesTable(max);
  const operations = new Operations(options.maxOperations ?? 0);
  const open = new Set<Call>();

  const operationOf = ({ record, path }: Call): number =>
    record.operation === "" ? operations.numberOf(path, false) : operations.numberOf(record.operation, true);

  const addMessages = ({ side, record }: Call, group: Group | undefined, operation: number): void => {
    const request = record.requestMessages - record.countedRequestMessages;
    const response = record.responseMessages - record.countedResponseMessages;
    // A retry sends anew, and a counter never falls.
    if (request <= 0 && response <= 0) return;
    const counts = (side === "outbound" ? client : server).messages(group, operation);
    counts.request += Math.max(0, request);
    counts.response += Math.max(0, response);
    record.countedRequestMessages = Math.max(record.requestMessages, record.countedRequestMessages);
    record.countedResponseMessages = Math.max(record.responseMessages, record.countedResponseMessages);
  };

  const groupOf = (call: Call): Group | undefined => {
    const { record, side, authority } = call;
    const outbound = side === "outbound";
    const service = record.cluster?.service;
    return (outbound ? client : server).group(
      record.cluster?.name ?? "",
      outbound && service === undefined ? authority : "",
      record.peerWorkload ?? (outbound ? (record.endpoint?.workload ?? "") : ""),
      record.peerPrincipal ?? "",
      service,
    );
  };

  const connections = new OpenConnections();
  const countsOf = (call: Call): ConnectionCounts =>
    (call.side === "outbound" ? client : server).connections(groupOf(call), connectionOutcome(call));

  const mirrors = new MirrorCounts();
  return {
    onMirror: (cluster, outcome, status) => mirrors.count(cluster, outcome, status),
    onOpen(call: Call): void {
      if (call.protocol === "tcp") connections.add(call);
      else open.add(call);
    },
    onCall(call: Call): void {
      const { record, protocol, side } = call;
      if (protocol === "tcp") return connections.close(call, countsOf(call));
      const group = groupOf(call);
      const grpc = protocol === "grpc";
      const operation = grpc ? operationOf(call) : noOperation;
      const table = side === "outbound" ? client : server;
      const cell = table.cell(group, packOutcome(call) + operation * outcomeRange);
      const ms = record.endMs - record.startMs;
      cell.observe(ms > 0 ? ms : 0);
      if (!grpc) return;
      open.delete(call);
      addMessages(call, group, operation);
    },
    collect() {
      // A call of ours whose other end is not known yet would be counted for nobody.
      for (const call of open)
        if (call.side === "inbound" || call.record.reached) addMessages(call, groupOf(call), operationOf(call));
      for (const call of connections.known()) connections.count(call, countsOf(call));
      const found = new Merged<Cell>(Cell.sum);
      const sent = new Merged<MessageCounts>(MessageCounts.sum);
      const connected = new Merged<ConnectionCounts>(ConnectionCounts.sum);
      gather(client, own, "source", operations, { found, sent, connected });
      gather(server, own, "destination", operations, { found, sent, connected });
      const counted = [requests(found), durations(found), messages(sent, "request"), messages(sent, "response")];
      return [...counted, ...connectionFamilies(connected), mirrors.collect()];
    },
  };
}

interface Gathered {
  readonly found: Merged<Cell>;
  readonly sent: Merged<MessageCounts>;
  readonly connected: Merged<ConnectionCounts>;
}

function gather(
  table: SeriesTable,
  own: OwnWorkload,
  reporter: "source" | "destination",
  operations: Operations,
  { found, sent, connected }: Gathered,
): void {
  const labelsOf = reporter === "source" ? clientLabels : serverLabels;
  const named = (labels: Labels, operation: number): Labels =>
    operations.on ? withOperation(labels, operations.nameOf(operation)) : labels;
  for (const group of table.groups()) {
    for (const [key, cell] of group.cells) {
      const labels = labelsOf(own, group, group.service, unpackOutcome(key % outcomeRange));
      found.add(named(labels, Math.floor(key / outcomeRange)), cell);
    }
    for (const [operation, counts] of group.messages)
      sent.add(named(endsOnly(labelsOf(own, group, group.service, unpackOutcome(0))), operation), counts);
    for (const [outcome, counts] of group.connections) {
      const how = unpackOutcome(outcome);
      connected.add(connectionLabels(labelsOf(own, group, group.service, how), how), counts);
    }
  }
  const other = overflowLabels(reporter);
  const all = operations.on ? withOperation(other, "other") : other;
  if (table.overflow !== undefined) found.add(all, table.overflow);
  if (table.overflowMessages !== undefined)
    sent.add(operations.on ? withOperation(endsOnly(other), "other") : endsOnly(other), table.overflowMessages);
  if (table.overflowConnections !== undefined)
    connected.add({ ...connectionLabels(other, unpackOutcome(0)), response_flags: "other" }, table.overflowConnections);
}

function requests(found: Merged<Cell>): MetricFamily {
  return {
    name: "istio_requests_total",
    help: "Requests that ended, answered or not.",
    type: "counter",
    series: found.map((labels, cell) => ({ labels, value: total(cell) })),
  };
}

function durations(found: Merged<Cell>): MetricFamily {
  const series = found.map((labels, cell): HistogramSeries => {
    let count = 0;
    const buckets = Array.from(cell.buckets, (calls, at) => ({
      le: durationBounds[at] ?? Infinity,
      count: (count += calls),
    }));
    return { labels, buckets, sum: cell.sum, count };
  });
  return {
    name: "istio_request_duration_milliseconds",
    help: "Duration of requests in milliseconds, from the first byte to the last.",
    type: "histogram",
    series,
  };
}

/** How a call ended is none of these counters' labels. */
function messages(sent: Merged<MessageCounts>, side: "request" | "response"): MetricFamily {
  return {
    name: `istio_${side}_messages_total`,
    help: `Messages in the ${side}s of gRPC calls, those under way included.`,
    type: "counter",
    series: sent.map((labels, counts) => ({ labels, value: counts[side] })),
  };
}

function total(cell: Cell): number {
  let sum = 0;
  for (const calls of cell.buckets) sum += calls;
  return sum;
}
