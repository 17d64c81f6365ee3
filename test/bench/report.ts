import { cpus } from "node:os";
import type { Blocks } from "./blocks.ts";
import type { ControlPlane } from "./control-plane.ts";
import type { Grpc } from "./grpc.ts";
import type { Micro } from "./micro.ts";
import type { Http2 } from "./requests.ts";
import { spread, type Cost, type Effort, type Pair, type Spread } from "./paired.ts";
import type { Load, Startup } from "./startup.ts";

/** What was measured; a part that was not asked for is missing. */
export interface Report {
  readonly effort: Effort;
  readonly allocationError: number;
  client?: Pair[];
  server?: Pair[];
  noise?: Pair[];
  node?: Pair[];
  http2?: Http2;
  grpc?: Grpc;
  load?: Load[];
  startup?: Startup;
  controlPlane?: ControlPlane;
  blocks?: Blocks;
  micro?: Micro[];
  seconds?: number;
}

/** Of pairs: medians over the pairs. */
export interface Side {
  readonly cpuRatio: number;
  readonly addedUs: number;
  readonly addedBytes: number;
  readonly plainUs: number;
  readonly meshUs: number;
  readonly cpuRatioMin: number;
  readonly cpuRatioMax: number;
  readonly addedP50Us: number;
}

/** The JSON of the last line. */
export interface Summary {
  readonly client?: Side;
  readonly server?: Side;
  readonly noise?: Side;
  /** Node's own client over `node:https`. */
  readonly nodeClient?: Side;
  /** Over undici's HTTP/2 and over `node:http2`; `http2Bridge`: to a handler of `node:http`. */
  readonly http2Client?: Side;
  readonly http2Bridge?: Side;
  readonly http2Server?: Side;
  /** Of unary calls over plain grpc-js; the other comparisons below it. */
  readonly grpc?: Side & { readonly stream: Side; readonly unaryOverXds: Side; readonly streamOverXds: Side };
  readonly startup?: {
    readonly importMs: number;
    readonly joinMs: number;
    readonly cpuMs: number;
    readonly rssMb: number;
    readonly plainCpuMs: number;
    readonly plainRssMb: number;
  };
  readonly controlPlane?: {
    readonly fanOutMs: number;
    readonly fanOutMsMax: number;
    readonly told: number;
    readonly certificatesPerSecond: number;
  };
  readonly blockMs?: { readonly endpointChange: number; readonly bigEds: number };
}

export function summarize(report: Report): Summary {
  const { client, server, noise, node, http2, grpc, startup, controlPlane, blocks } = report;
  return {
    ...(client && { client: sideOf(client) }),
    ...(server && { server: sideOf(server) }),
    ...(noise && { noise: sideOf(noise) }),
    ...(node && { nodeClient: sideOf(node) }),
    ...(http2 && {
      http2Client: sideOf(http2.client),
      http2Bridge: sideOf(http2.bridged),
      http2Server: sideOf(http2.native),
    }),
    ...(grpc && {
      grpc: {
        ...sideOf(grpc.unary),
        stream: sideOf(grpc.stream),
        unaryOverXds: sideOf(grpc.unaryOverXds),
        streamOverXds: sideOf(grpc.streamOverXds),
      },
    }),
    ...(startup && { startup: medians(startup) }),
    ...(controlPlane && {
      controlPlane: {
        fanOutMs: controlPlane.fanOutMs.median,
        fanOutMsMax: controlPlane.fanOutMs.max,
        told: controlPlane.told,
        certificatesPerSecond: controlPlane.certificatesPerSecond.median,
      },
    }),
    ...(blocks && { blockMs: { endpointChange: blocks.endpointChange.median, bigEds: blocks.bigEds.median } }),
  };
}

export function summaryLine(summary: Summary): string {
  return JSON.stringify(summary, (_key, value: unknown) =>
    typeof value === "number" ? Math.round(value * 1_000) / 1_000 : value,
  );
}

/** Budgets of the design. */
const budgets = {
  clientUs: 3,
  clientBytes: 1_024,
  grpcUs: 5,
  startupMs: 60,
  startupMb: 20,
  blockMs: 5,
  fanOutMs: 100,
  certificatesPerSecond: 300,
};

export function table(report: Report): string {
  const { effort, startup, controlPlane, blocks } = report;
  const lines = [
    `${new Date().toISOString().slice(0, 10)} · Node ${process.version} · ${process.platform} ${process.arch} · ${cpus().length} × ${cpus()[0]?.model.trim() || "unnamed CPU"}`,
    `${effort.pairs} pairs of fresh processes, ${effort.slices} × ${effort.sliceRequests} requests each side, ${effort.inFlight} in flight (gRPC: half as many); median [min … max] of the pairs`,
    "",
  ];
  for (const [name, pairs, plain] of [
    ["client", report.client, "undici Pools, mTLS"],
    ["server", report.server, "node:https, mTLS"],
    ["noise", report.noise, "undici Pools, mTLS"],
    ["client of node:http", report.node, "node:https, mTLS"],
    ["HTTP/2 client", report.http2?.client, "undici Pools, mTLS"],
    ["HTTP/2, node:http handler", report.http2?.bridged, "node:http2, mTLS"],
    ["HTTP/2 server", report.http2?.native, "node:http2, mTLS"],
    ["grpc unary", report.grpc?.unary, "grpc-js, mTLS"],
    ["grpc stream, 10 messages", report.grpc?.stream, "grpc-js, mTLS"],
    ["grpc unary", report.grpc?.unaryOverXds, "grpc-js-xds"],
    ["grpc stream, 10 messages", report.grpc?.streamOverXds, "grpc-js-xds"],
  ] as const) {
    if (pairs !== undefined) lines.push(...pairsTable(name, plain, pairs), "");
  }
  if (startup !== undefined) {
    lines.push(
      `import of trama ${range(startup.importMs, 0)} ms, join ${range(startup.joinMs, 0)} ms; both together CPU ${range(startup.cpuMs, 0)} ms`,
      `  what Node's own modules take for it: CPU ${range(startup.plainCpuMs, 0)} ms, ${range(startup.plainRssMb, 0)} MB`,
      budget("import + join without waiting", startup.cpuMs.median, budgets.startupMs, "ms"),
      budget("resident memory added", startup.rssMb.median, budgets.startupMb, "MB"),
      "",
    );
  }
  for (const { what, cpuMs, rssMb } of report.load ?? [])
    lines.push(`import of ${what}: CPU ${range(cpuMs, 0)} ms, ${range(rssMb, 0)} MB`);
  if (report.load !== undefined) lines.push("");
  if (controlPlane !== undefined) {
    const { fanOutMs, told, users, clients, certificatesPerSecond } = controlPlane;
    lines.push(
      `control plane, ${clients} clients: an endpoint that ${users} of them use moves, and the last of them knows after ${range(fanOutMs, 0)} ms; certificates a second of one processor ${range(certificatesPerSecond, 0)}`,
      budget("clients told of a change", told, users, `clients, of ${clients}`),
      budget("to the last client that uses it", fanOutMs.median, budgets.fanOutMs, "ms"),
      budget(
        "certificates issued",
        certificatesPerSecond.median,
        budgets.certificatesPerSecond,
        "a second of one processor",
        true,
      ),
      "",
    );
  }
  if (blocks !== undefined) {
    lines.push(
      `longest turn of the event loop: 10,000 endpoints arrive ${range(blocks.bigEds, 1)} ms; one of them changes ${range(blocks.endpointChange, 1)} ms, the first time ${range(blocks.firstChange, 1)} ms`,
      `  without V8's collections: ${range(blocks.withoutGc.bigEds, 1)} ms; ${range(blocks.withoutGc.endpointChange, 1)} ms, the first time ${range(blocks.withoutGc.firstChange, 1)} ms`,
      ...(blocks.xds === undefined ? [] : [`  grpc-js-xds: ${xdsBlocks(blocks.xds)}`]),
      budget("one endpoint of 10,000 changes", blocks.endpointChange.median, budgets.blockMs, "ms"),
      budget("10,000 endpoints arrive", blocks.bigEds.median, budgets.blockMs, "ms"),
      "",
    );
  }
  if (report.client !== undefined) {
    const { addedUs, addedBytes } = sideOf(report.client);
    lines.push(
      budget("client CPU added", addedUs, budgets.clientUs, "µs a request"),
      budget("client garbage added", addedBytes, budgets.clientBytes, "bytes a request"),
      "",
    );
  }
  if (report.grpc !== undefined) {
    const { addedUs } = sideOf(report.grpc.unary);
    lines.push(budget("gRPC CPU added over plain grpc-js", addedUs, budgets.grpcUs, "µs a call"), "");
  }
  for (const { name, averages } of report.micro ?? []) {
    lines.push(
      `micro/${name}`,
      ...averages.map(([what, average]) => `  ${what.padEnd(52)}${average.padStart(12)}`),
      "",
    );
  }
  lines.push(
    `allocation meter against a known program: ${(report.allocationError * 100).toFixed(2)} % off` +
      (report.seconds === undefined ? "" : ` · ${report.seconds} s in all`),
  );
  return lines.join("\n");
}

function pairsTable(name: string, plain: string, pairs: readonly Pair[]): string[] {
  const of = (pick: (pair: Pair) => number): Spread => spread(pairs.map(pick));
  const row = (label: string, digits: number, cost: (cost: Cost) => number, added?: (pair: Pair) => number): string => {
    const difference = added ?? ((pair: Pair) => cost(pair.mesh) - cost(pair.plain));
    const plainSide = range(
      of((pair) => cost(pair.plain)),
      digits,
    );
    const meshSide = range(
      of((pair) => cost(pair.mesh)),
      digits,
    );
    return `  ${label.padEnd(26)}${plainSide.padEnd(26)}${meshSide.padEnd(26)}${signed(of(difference), digits)}`;
  };
  return [
    `${name.padEnd(28)}${plain.padEnd(26)}${(name === "noise" ? "the same" : "Trama").padEnd(26)}difference`,
    row(
      "CPU µs a request",
      1,
      (cost) => cost.cpuUs,
      (pair) => pair.addedUs,
    ),
    row("  of it pauses for GC", 2, (cost) => cost.gcPauseUs),
    row("heap bytes a request", 0, (cost) => cost.heapBytes),
    row("p50 µs, one in flight", 0, (cost) => cost.p50Us),
    row("resident MB", 0, (cost) => cost.rssBytes / 2 ** 20),
    `  CPU ratio                 × ${range(
      of((pair) => pair.cpuRatio),
      3,
    )}`,
  ];
}

function sideOf(pairs: readonly Pair[]): Side {
  const of = (pick: (pair: Pair) => number): Spread => spread(pairs.map(pick));
  const ratio = of((pair) => pair.cpuRatio);
  return {
    cpuRatio: ratio.median,
    addedUs: of((pair) => pair.addedUs).median,
    addedBytes: Math.round(of((pair) => pair.addedBytes).median),
    plainUs: of((pair) => pair.plain.cpuUs).median,
    meshUs: of((pair) => pair.mesh.cpuUs).median,
    cpuRatioMin: ratio.min,
    cpuRatioMax: ratio.max,
    addedP50Us: of((pair) => pair.addedP50Us).median,
  };
}

function medians<K extends string>(spreads: Readonly<Record<K, Spread>>): Record<K, number> {
  const entries = Object.entries<Spread>(spreads).map(([key, value]) => [key, value.median]);
  return Object.fromEntries(entries) as Record<K, number>;
}

function xdsBlocks(blocks: NonNullable<Blocks["xds"]>): string {
  if (blocks === "no answer") return "no answer within two minutes";
  return `${blocks.bigEds.toFixed(0)} ms and ${blocks.endpointChange.toFixed(0)} ms`;
}

/** `least`: it is to be reached, and not to be kept below. */
function budget(what: string, value: number, limit: number, unit: string, least = false): string {
  return `${(least ? value >= limit : value <= limit) ? "met    " : "MISSED "} ${what}: ${value.toFixed(value < 10 ? 1 : 0)} of ${limit} ${unit}`;
}

function range({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} [${min.toFixed(digits)} … ${max.toFixed(digits)}]`;
}

function signed(spread: Spread, digits: number): string {
  return `${spread.median >= 0 ? "+" : ""}${range(spread, digits)}`;
}
