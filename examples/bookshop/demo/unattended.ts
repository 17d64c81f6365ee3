import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Sample, scrape, sum } from "./metrics.ts";
import { openShop, type Shop } from "./shop.ts";
import { counts, percentile, since, watchVisits } from "./visits.ts";

/** The last line of `npm run demo -- --seconds n --json`: measured from what services and clients saw. */
export interface Report {
  readonly requests: number;
  readonly failed: number;
  /** Shares of the catalog's versions under the weights of the YAML, before they were changed. */
  readonly split: Readonly<Record<"v1" | "v2", number>>;
  readonly mtlsRequests: number;
  readonly plaintextRequests: number;
  readonly deniedExpected: number;
  readonly deniedActual: number;
  /** Calls of the reviews to the ratings, as the caller's mesh saw them end; those that did not end with OK. */
  readonly grpcRequests: number;
  readonly grpcFailed: number;
  /** 503 and UNAVAILABLE answers that a service gave and no caller saw. */
  readonly retried: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the write of the YAML to the beginning of the last visit that the old weight still sent to v1. */
  readonly weightChange: { readonly toMs: number; readonly failed: number };
  readonly controlPlaneDown: { readonly requests: number; readonly failed: number };
}

const weights = { v1: 0.9, v2: 0.1 };
/** z of the 99.9 % interval of a binomial share. */
const z = 3.29;

/**
 * The story of the demo without a person: steady traffic; a weight changed in the YAML; the control plane killed under
 * load and started again. Works on a copy of the YAML, so that nothing in the checkout changes.
 */
export async function unattended(
  meshDir: string,
  seconds: number,
  perSecond: number,
  progress: (text: string) => void,
  stop: AbortSignal,
): Promise<{ report: Report; faults: string[] }> {
  const copy = await mkdtemp(join(tmpdir(), "trama-mesh-"));
  await cp(meshDir, copy, { recursive: true });
  try {
    const shop = await openShop(copy, perSecond, progress);
    try {
      return await run(shop, copy, seconds, progress, stop);
    } finally {
      await shop.close();
    }
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function run(
  shop: Awaited<ReturnType<typeof openShop>>,
  meshDir: string,
  seconds: number,
  progress: (text: string) => void,
  stop: AbortSignal,
): Promise<{ report: Report; faults: string[] }> {
  const wait = (ms: number): Promise<void> => sleep(ms, undefined, { signal: stop });
  const visits = watchVisits(shop);
  const steadyMs = Math.max(seconds * 0.5, 2) * 1_000;
  const phaseMs = Math.max(seconds * 0.2, 2) * 1_000;
  const outageMs = Math.max(seconds * 0.3, 2) * 1_000;

  progress(`steady traffic for ${steadyMs / 1_000} s`);
  await wait(steadyMs);
  const steady = counts(visits);
  const grpcSteady = await grpcCalls(shop);

  progress("moving all of the catalog's traffic to v2");
  const changedMs = Date.now();
  await changeWeights(meshDir);
  await wait(phaseMs);
  const changed = since(visits, steady);
  const grpcChanged = await grpcCalls(shop);
  const toMs = Math.max(0, (visits.lastSeenMs["v1"] ?? changedMs) - changedMs);

  progress("killing the control plane");
  const beforeOutage = counts(visits);
  await shop.killControlPlane();
  await wait(outageMs);
  const outage = since(visits, beforeOutage);
  const grpcOutage = await grpcCalls(shop);
  progress("starting the control plane again");
  await shop.restartControlPlane();
  await wait(phaseMs / 2);

  const last = new Promise<void>((resolve) => {
    shop.customer.on("batch", (batch) => {
      if (batch.last === true) resolve();
    });
  });
  shop.customer.child.send({ kind: "stop" });
  await last;
  const samples = await scrape(shop.metricsPorts);

  const served = (labels: Record<string, string>): number =>
    sum(samples, "istio_requests_total", { reporter: "destination", ...labels });
  const called = (labels: Record<string, string>): number =>
    sum(samples, "istio_requests_total", { reporter: "source", ...labels });
  const total = (steady.versions["v1"] ?? 0) + (steady.versions["v2"] ?? 0);
  const grpc = callsIn(samples);
  const report: Report = {
    requests: visits.requests,
    failed: visits.failed,
    split: { v1: round((steady.versions["v1"] ?? 0) / total), v2: round((steady.versions["v2"] ?? 0) / total) },
    mtlsRequests: served({ connection_security_policy: "mutual_tls" }),
    plaintextRequests: served({ connection_security_policy: "none" }),
    deniedExpected: visits.deniedExpected,
    deniedActual: visits.deniedActual,
    grpcRequests: grpc.requests,
    grpcFailed: grpc.failed,
    retried: [
      { destination_service_name: "reviews", response_code: "503" },
      { destination_service_name: "ratings", grpc_response_status: "14" },
    ].reduce((total, labels) => total + served(labels) - called(labels), 0),
    p50Ms: round(percentile(visits.latenciesMs, 0.5)),
    p99Ms: round(percentile(visits.latenciesMs, 0.99)),
    weightChange: { toMs, failed: changed.failed },
    controlPlaneDown: { requests: outage.requests, failed: outage.failed },
  };
  const faults = judge(report, total, changed.versions);
  if (grpcChanged.requests === grpcSteady.requests) faults.push("no gRPC call while the weights changed");
  if (grpcOutage.requests === grpcChanged.requests) faults.push("no gRPC call while the control plane was down");
  return { report, faults: [...faults, ...visits.errors] };
}

interface GrpcCalls {
  readonly requests: number;
  readonly failed: number;
}

async function grpcCalls(shop: Pick<Shop, "metricsPorts">): Promise<GrpcCalls> {
  return callsIn(await scrape(shop.metricsPorts));
}

function callsIn(samples: readonly Sample[]): GrpcCalls {
  const calls = { reporter: "source", request_protocol: "grpc", destination_service_name: "ratings" };
  const requests = sum(samples, "istio_requests_total", calls);
  return { requests, failed: requests - sum(samples, "istio_requests_total", { ...calls, grpc_response_status: "0" }) };
}

/** 90/10 becomes 0/100, written as an editor does it: to a new file, then renamed over the old one. */
async function changeWeights(meshDir: string): Promise<void> {
  const file = join(meshDir, "catalog.yaml");
  const yaml = await readFile(file, "utf8");
  const changed = yaml.replace("weight: 90", "weight: 0").replace("weight: 10\n", "weight: 100\n");
  if (changed === yaml) throw new Error(`${file}: the weights of the canary are not where the demo expects them`);
  await writeFile(`${file}.new`, changed);
  await rename(`${file}.new`, file);
}

/** What is wrong with a report; the run fails if anything is. */
function judge(report: Report, steadyVisits: number, afterChange: Readonly<Record<string, number>>): string[] {
  const faults: string[] = [];
  const expect = (truth: boolean, fault: string): void => {
    if (!truth) faults.push(fault);
  };
  expect(report.requests > 0, "there was no traffic");
  expect(report.failed === 0, `${report.failed} of ${report.requests} requests failed`);
  const tolerance = z * Math.sqrt((weights.v1 * weights.v2) / steadyVisits);
  expect(
    Math.abs(report.split.v2 - weights.v2) <= tolerance,
    `v2 got ${report.split.v2} of ${steadyVisits} visits instead of ${weights.v2} ± ${tolerance.toFixed(3)}`,
  );
  expect(
    report.mtlsRequests >= 4 * report.requests,
    "a visit is four mutually authenticated requests; fewer were seen",
  );
  expect(report.plaintextRequests === 0, `${report.plaintextRequests} requests were served in plaintext`);
  expect(report.deniedExpected > 0, "nobody tried what is forbidden");
  expect(
    report.deniedActual === report.deniedExpected,
    `${report.deniedActual} of ${report.deniedExpected} forbidden attempts were refused`,
  );
  expect(report.grpcRequests > 0, "there was no gRPC call");
  expect(report.grpcFailed === 0, `${report.grpcFailed} of ${report.grpcRequests} gRPC calls failed`);
  expect(report.retried > 0, "no retry repaired anything");
  expect((afterChange["v2"] ?? 0) > 0, "no traffic after the change of weights");
  expect(report.weightChange.toMs <= 1_000, `the change of weights took ${report.weightChange.toMs} ms`);
  expect(report.weightChange.failed === 0, `${report.weightChange.failed} requests failed while the weights changed`);
  expect(report.controlPlaneDown.requests > 0, "no traffic while the control plane was down");
  expect(
    report.controlPlaneDown.failed === 0,
    `${report.controlPlaneDown.failed} requests failed while the control plane was down`,
  );
  return faults;
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
