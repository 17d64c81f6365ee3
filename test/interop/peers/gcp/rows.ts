import type { Message } from "@bufbuild/protobuf";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import type { Mesh } from "trama";

import { assignment, outboundListener } from "../../../kit/xds-resources.ts";
import type { Capability, Context, Outcome } from "../../peer.ts";
import { until } from "../plane.ts";
import { type Event, type Gcp, type Mode, typeUrl } from "./control.ts";
import { call, calls, type GcpMesh, host, port, withGcp } from "./mesh.ts";

/** What must hold with go-control-plane, however it is run. */
export function rowsOf(mode: Mode): Capability[] {
  const row = (name: string, body: (mesh: GcpMesh) => Promise<string>): Capability => ({
    name,
    limitMs: 60_000,
    run: (context: Context): Promise<Outcome> => withGcp(context, mode, body),
  });
  return [
    row("joins, and calls over plaintext and mutual TLS", joinsAndCalls),
    row("asks for all that is named, weight 0 included (R36)", (mesh) => asksForAll(mesh, mode)),
    row("deleted, and restored byte for byte (R13, R16)", deletedAndRestored),
    row("100 versions under load without a failed call (R26, R27)", churn),
    row("restarted: all stays in force, and is asked for again (R3, R4, R18, R22-R24)", (mesh) =>
      restarted(mesh, mode),
    ),
    row("a bad resource is refused with its name, the last good one stays (R5, R6)", refused),
    row("a first version that is bad is an error, no missing host, until it is mended (R11)", refusedAtFirst),
  ];
}

const rounds = 60;
/** Its caches say nothing of a name that they lack, and joining must not wait for them to (R10). */
const mostMs = 10_000;
const ok = { v1: "200 v1", v2: "200 v2 spiffe://cluster.local/ns/demo/sa/caller" };

async function joinsAndCalls(mesh: GcpMesh): Promise<string> {
  await mesh.set("1", mesh.reviews(50, 50));
  const began = performance.now();
  const joined = await mesh.join();
  const joinMs = performance.now() - began;
  // What joining asked for is let go of; the first host is asked for after that.
  await quiet(mesh);
  const firstMs = performance.now();
  await expectCall(joined, (answer) => Object.values(ok).includes(answer));
  const first = performance.now() - firstMs;
  const answers = await calls(joined, rounds);
  if (
    (answers[ok.v1] ?? 0) + (answers[ok.v2] ?? 0) !== rounds ||
    answers[ok.v1] === undefined ||
    answers[ok.v2] === undefined
  )
    throw new Error(JSON.stringify(answers));
  noneRefused(mesh.gcp);
  if (joinMs > mostMs) throw new Error(`joining took ${Math.round(joinMs)} ms`);
  return `joined in ${Math.round(joinMs)} ms, first call ${Math.round(first)} ms; plaintext : mutual TLS ${answers[ok.v1]} : ${answers[ok.v2]}`;
}

async function asksForAll(mesh: GcpMesh, mode: Mode): Promise<string> {
  await mesh.set("1", mesh.reviews(0, 100));
  const joined = await mesh.join();
  const answers = await calls(joined, 5);
  if (answers[ok.v2] !== 5) throw new Error(JSON.stringify(answers));
  const asked = (type: string): Set<string> =>
    new Set(mesh.gcp.events.flatMap((one) => (one.event === "request" && one.type === type ? (one.names ?? []) : [])));
  for (const type of [typeUrl.cluster, typeUrl.endpoints])
    for (const branch of ["v0", "v1", "v2"])
      if (!asked(type).has(`outbound|${port}|${branch}|${host}`))
        throw new Error(`${branch} was not asked for: ${[...asked(type)].join()}`);
  noneRefused(mesh.gcp);
  const held = mode.cache === "snapshot" && mode.ads && mode.form === "sotw";
  return `3 clusters and their endpoints, two of weight 0${held ? "; the answer was held until all were asked for" : ""}`;
}

async function deletedAndRestored(mesh: GcpMesh): Promise<string> {
  const all = mesh.reviews(50, 50);
  await mesh.set("1", all);
  const joined = await mesh.join();
  await expectCall(joined, (answer) => answer.startsWith("200"));
  // Clusters and endpoints are kept in use for as long as a route names them.
  let from = mesh.gcp.events.length;
  await mesh.set(
    "2",
    all.filter(({ $typeName }) => /Listener|RouteConfiguration/.test($typeName)),
  );
  await mesh.gcp.seen("the clusters' removal is acknowledged", from, acknowledges(typeUrl.cluster));
  const kept = await calls(joined, 10);
  if (Object.keys(kept).some((answer) => !answer.startsWith("200"))) throw new Error(JSON.stringify(kept));
  await mesh.set("3", all);
  await mesh.set("4", []);
  await until(
    mesh.context,
    "a host that was deleted is refused",
    async () => (await call(joined)).startsWith("BLOCKED ") || undefined,
  );
  from = mesh.gcp.events.length;
  await mesh.set("5", all);
  await until(mesh.context, "it is back", async () => (await call(joined)).startsWith("200") || undefined);
  const answers = await calls(joined, rounds);
  if ((answers[ok.v1] ?? 0) + (answers[ok.v2] ?? 0) !== rounds) throw new Error(JSON.stringify(answers));
  noneRefused(mesh.gcp);
  return `clusters gone: ${JSON.stringify(kept)}; listener gone: BLOCKED; back: ${rounds} of ${rounds}`;
}

async function churn(mesh: GcpMesh): Promise<string> {
  await mesh.set("0", mesh.reviews(50, 50));
  const joined = await mesh.join();
  await expectCall(joined, (answer) => answer.startsWith("200"));
  let done = false;
  const answers: Record<string, number> = {};
  const worker = async (): Promise<void> => {
    while (!done)
      for (const [answer, count] of Object.entries(await calls(joined, 1)))
        answers[answer] = (answers[answer] ?? 0) + count;
  };
  const workers = Array.from({ length: 8 }, worker);
  const versions = 100;
  for (let version = 1; version <= versions; version++) {
    // Each turn other weights; every fifth takes the listener's clusters from one name to the other.
    await mesh.set(String(version), mesh.reviews(version % 5 === 0 ? 0 : version, 101));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const from = mesh.gcp.events.length;
  await mesh.set("last", mesh.reviews(100, 0));
  await mesh.gcp.seen("the last version is acknowledged", from, acknowledges(typeUrl.route));
  done = true;
  await Promise.all(workers);
  const bad = Object.keys(answers).filter((answer) => !Object.values(ok).includes(answer));
  if (bad.length > 0) throw new Error(JSON.stringify(answers));
  const last = await calls(joined, 20);
  if (last[ok.v1] !== 20) throw new Error(`after the last version: ${JSON.stringify(last)}`);
  noneRefused(mesh.gcp);
  return `${(answers[ok.v1] ?? 0) + (answers[ok.v2] ?? 0)} calls, none failed`;
}

async function restarted(mesh: GcpMesh, mode: Mode): Promise<string> {
  const all = mesh.reviews(50, 50);
  await mesh.set("1", all);
  const joined = await mesh.join();
  await expectCall(joined, (answer) => answer.startsWith("200"));
  await mesh.gcp.stop();
  const away = await calls(joined, 20);
  if (Object.keys(away).some((answer) => !answer.startsWith("200")))
    throw new Error(`while it was away: ${JSON.stringify(away)}`);
  let from = mesh.gcp.events.length;
  await mesh.gcp.start({ node: mesh.node, version: "1", resources: all });
  await quietAfter(mesh, from);
  const again = mesh.gcp.events.slice(from);
  for (const [name, url] of Object.entries(typeUrl)) {
    const first = again.find(({ event, type }) => event === "request" && type === url);
    if (first === undefined) throw new Error(`${name}: not asked for again`);
    if (first.nonce !== undefined) throw new Error(`${name}: the first request has nonce ${first.nonce}`);
    const want = url === typeUrl.cluster || url === typeUrl.endpoints ? 3 : 1;
    if ((first.names ?? []).length !== want) throw new Error(`${name}: asks for ${JSON.stringify(first.names)}`);
    if (mode.form === "delta" && Object.keys(first.held ?? {}).length !== want)
      throw new Error(`${name}: holds ${JSON.stringify(first.held)}`);
    if (mode.form === "sotw" && (first.version ?? "") === "")
      throw new Error(`${name}: without the version accepted before`);
    const sent = again.filter(({ event, type }) => event === "response" && type === url);
    if (mode.form === "delta" && sent.length > 0) throw new Error(`${name}: was sent again, though it was held`);
  }
  // What changes now is heard; and what went while it was away is gone.
  from = mesh.gcp.events.length;
  await mesh.set("2", mesh.reviews(100, 0));
  await until(mesh.context, "a new version is in force", async () =>
    (await calls(joined, 10))[ok.v1] === 10 ? true : undefined,
  );
  await mesh.gcp.stop();
  await mesh.gcp.start({ node: mesh.node, version: "3", resources: [] });
  await until(
    mesh.context,
    "what went meanwhile is gone",
    async () => (await call(joined)).startsWith("BLOCKED ") || undefined,
  );
  noneRefused(mesh.gcp);
  return mode.form === "delta"
    ? "4 types with all names and the versions held; nothing was sent twice"
    : "4 types with all names, the version accepted, and no nonce";
}

async function refused(mesh: GcpMesh): Promise<string> {
  const good = mesh.reviews(50, 50);
  await mesh.set("1", good);
  const joined = await mesh.join();
  await expectCall(joined, (answer) => answer.startsWith("200"));
  let from = mesh.gcp.events.length;
  await mesh.set("2", spoilt(mesh, good));
  const nack = await mesh.gcp.seen("a NACK", from, ({ error }) => error !== undefined);
  for (const part of ["ClusterLoadAssignment", `outbound|${port}|v1|${host}`, "is there twice"])
    if (!nack.error?.includes(part)) throw new Error(`the NACK does not say ${part}: ${nack.error}`);
  const kept = await calls(joined, rounds);
  if ((kept[ok.v1] ?? 0) + (kept[ok.v2] ?? 0) !== rounds)
    throw new Error(`with the last good: ${JSON.stringify(kept)}`);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const nacks = mesh.gcp.events.slice(from).filter(({ error }) => error !== undefined).length;
  if (nacks > 10) throw new Error(`${nacks} NACKs of one version`);
  from = mesh.gcp.events.length;
  await mesh.set("3", mesh.reviews(100, 0));
  await until(mesh.context, "the mended version is in force", async () =>
    (await calls(joined, 10))[ok.v1] === 10 ? true : undefined,
  );
  if (mesh.gcp.events.slice(from + 20).some(({ error }) => error !== undefined))
    throw new Error("still refused after it was mended");
  return `${nack.error?.slice(0, 110)}; ${nacks} NACKs`;
}

async function refusedAtFirst(mesh: GcpMesh): Promise<string> {
  const good = mesh.reviews(50, 50);
  const bad = outboundListener(`${host}:${port}`, `outbound|${port}||${host}`, []);
  await mesh.set("1", [bad, ...good.slice(1)]);
  const joined = await mesh.join();
  const from = mesh.gcp.events.length;
  const began = performance.now();
  const answer = await call(joined);
  const tookMs = performance.now() - began;
  if (!/^NO_CONFIG .*http_filters/s.test(answer)) throw new Error(`a call: ${answer}`);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const nacks = mesh.gcp.events.slice(from).filter(({ error }) => error !== undefined).length;
  if (nacks === 0 || nacks > 10) throw new Error(`${nacks} NACKs of one version`);
  await mesh.set("2", good);
  await until(
    mesh.context,
    "the mended version is in force",
    async () => (await call(joined)).startsWith("200") || undefined,
  );
  return `${answer.slice(0, 120)} after ${Math.round(tookMs)} ms; ${nacks} NACKs; then 200`;
}

/** The endpoints of v1 with one address in them twice. */
function spoilt({ v1 }: GcpMesh, resources: readonly Message[]): Message[] {
  const name = `outbound|${port}|v1|${host}`;
  return resources.map((one) =>
    one.$typeName === ClusterLoadAssignmentSchema.typeName &&
    (one as ReturnType<typeof assignment>).clusterName === name
      ? assignment(name, [v1, v1])
      : one,
  );
}

function acknowledges(type: string): (event: Event) => boolean {
  return (event) =>
    event.event === "request" && event.type === type && event.nonce !== undefined && event.error === undefined;
}

async function expectCall(mesh: Mesh, wanted: (answer: string) => boolean): Promise<void> {
  const answer = await call(mesh);
  if (!wanted(answer)) throw new Error(`a call: ${answer}; ${JSON.stringify(mesh.status().resources)}`);
}

function noneRefused(gcp: Gcp): void {
  for (const { type, error } of gcp.events) if (error !== undefined) throw new Error(`refused ${type}: ${error}`);
}

/** Until nothing was said for a moment. */
function quiet(mesh: GcpMesh): Promise<void> {
  return quietAfter(mesh, 0);
}

async function quietAfter({ context, gcp }: GcpMesh, from: number): Promise<void> {
  let count = -1;
  await until(context, "it speaks", () => gcp.events.length > from || undefined);
  while (count !== gcp.events.length) {
    count = gcp.events.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
