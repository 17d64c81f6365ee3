import { promisify } from "node:util";
import { credentials, type ServiceError, status } from "@grpc/grpc-js";
import { joinMesh } from "trama";
import { meshClientOptions } from "trama/grpc";
import type { Batch } from "../demo/messages.ts";
import { Ratings } from "./ratings-api.ts";

/**
 * The paced load: a customer who opens the storefront so many times a second, at the times planned (a slow answer delays nobody behind
 * it), and who now and then tries what the policy forbids: to ask the catalog directly, and to rate a book. Sends what it saw four times a
 * second.
 */
const perSecond = Number(process.argv[2] ?? 100);
const forbiddenEvery = 20;
/** Visits at once. A machine that cannot keep up has a queue at the door, which the latencies tell of, and no shop that drowns in visitors. */
const mostAtOnce = 64;

const mesh = await joinMesh();
mesh.closeOnSignals();

const ratings = new Ratings("ratings:9090", credentials.createInsecure(), meshClientOptions(mesh));
const rate = promisify(ratings.rate.bind(ratings));

let batch = emptyBatch();
function emptyBatch(): Batch {
  return {
    kind: "batch",
    ok: 0,
    failed: 0,
    errors: [],
    latenciesMs: [],
    versions: {},
    lastSeenMs: {},
    denied: 0,
    deniable: 0,
  };
}

async function visit(plannedMs: number): Promise<void> {
  const sentMs = Date.now();
  try {
    const response = await mesh.fetch("http://storefront:8080/");
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`status ${response.status}`);
    const version = response.headers.get("x-catalog-version") ?? "unknown";
    batch.ok++;
    batch.versions[version] = (batch.versions[version] ?? 0) + 1;
    batch.lastSeenMs[version] = Math.max(sentMs, batch.lastSeenMs[version] ?? 0);
    batch.latenciesMs.push(performance.now() - plannedMs);
  } catch (error) {
    batch.failed++;
    if (batch.errors.length < 5) batch.errors.push(String(error));
  }
}

async function trespass(): Promise<void> {
  await Promise.all([askCatalog(), rateBook()]);
}

async function askCatalog(): Promise<void> {
  batch.deniable++;
  try {
    const response = await mesh.fetch("http://catalog:8080/books");
    await response.arrayBuffer();
    if (response.status === 403) batch.denied++;
  } catch {
    // Not a denial by policy: the count shows it as missing.
  }
}

/** A customer may read ratings; this one method is not theirs. */
async function rateBook(): Promise<void> {
  batch.deniable++;
  await rate({ book: "Solaris", stars: 1 }).catch(({ code }: ServiceError) => {
    if (code === status.PERMISSION_DENIED) batch.denied++;
  });
}

/** The shop may still be opening: the first visit that succeeds starts the clock. */
async function firstVisit(): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await mesh.fetch("http://storefront:8080/").catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the storefront never answered");
}

let stopped = false;
process.on("message", (message: { kind: string }) => {
  if (message.kind === "stop") stopped = true;
});
process.on("disconnect", () => process.exit(0));

process.send?.({ kind: "joined" });
await new Promise<void>((resolve) => process.once("message", () => resolve()));
await firstVisit();
process.send?.({ kind: "started" });

const report = setInterval(() => {
  process.send?.(batch);
  batch = emptyBatch();
}, 250);

const startMs = performance.now();
const under = new Set<Promise<void>>();
for (let planned = 0; !stopped; planned++) {
  const plannedMs = startMs + (planned * 1000) / perSecond;
  const waitMs = plannedMs - performance.now();
  if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
  while (under.size >= mostAtOnce) await Promise.race(under);
  const call =
    planned % forbiddenEvery === 0 ? Promise.all([visit(plannedMs), trespass()]).then(() => {}) : visit(plannedMs);
  under.add(call);
  void call.finally(() => under.delete(call));
}
await Promise.all(under);
clearInterval(report);
process.send?.({ ...batch, last: true });
