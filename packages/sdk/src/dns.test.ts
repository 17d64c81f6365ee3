import type { DnsDiscovery, MeshConfig } from "@trama/engine";
import { afterEach, expect, it } from "vitest";
import { fakeClock } from "../../../test/kit/clock.ts";
import { cluster, endpoint, locality } from "../../../test/kit/mesh-config.ts";
import { type DnsAnswer, DnsClusters } from "./dns.ts";

const strict: DnsDiscovery = {
  kind: "strict",
  refreshMs: 60_000,
  failureRefreshMs: 5_000,
  respectTtl: true,
  family: "v4_preferred",
};

type Answers = Record<string, readonly string[] | Error | undefined>;

/** Answers as the test says; `undefined` never does. */
function world(answers: Answers, ttlMs?: number) {
  const clock = fakeClock();
  const published: MeshConfig[] = [];
  const asked: string[] = [];
  const lookup = (host: string): Promise<DnsAnswer> => {
    asked.push(host);
    const answer = answers[host];
    if (answer === undefined) return new Promise(() => {});
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve({ addresses: answer, ttlMs });
  };
  const log = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
  const warnings: string[] = [];
  const dns = new DnsClusters({
    clock,
    random: () => 0,
    log,
    lookup,
    publish: (config) => void published.push(config),
  });
  closers.push(() => {
    dns.close();
    expect(clock.pending).toBe(0);
  });
  return { clock, published, asked, warnings, dns };
}

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function meshOf(hosts: readonly string[], dns: DnsDiscovery | null = strict): MeshConfig {
  const endpoints = hosts.map((host) => endpoint(`${host}:80`, { weight: 3 }));
  const one = cluster("c", { priorities: [[locality(endpoints)]], ...(dns === null ? {} : { dns }) });
  return { outbound: new Map(), inbound: new Map(), clusters: new Map([["c", one]]) };
}

function addresses(config: MeshConfig | undefined): readonly string[] {
  return config!.clusters
    .get("c")!
    .endpoints.priorities.flat()
    .flatMap((each) => each.endpoints.map((one) => one.address));
}

it("puts the addresses of its names in their place before the first call, and keeps what else an endpoint says", async () => {
  const { published, dns } = world({ "a.example.com": ["10.0.0.2", "10.0.0.1"], "b.example.com": ["10.0.0.2", "::1"] });
  await dns.publish(meshOf(["a.example.com", "b.example.com", "10.0.0.9"]));
  expect(published).toHaveLength(1);
  // An address that two names mean is one endpoint; v4_preferred takes no v6 where there is v4.
  expect(addresses(published[0])).toEqual(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"]);
  expect(published[0]!.clusters.get("c")!.endpoints.priorities[0]![0]!.endpoints[0]).toMatchObject({
    host: "10.0.0.1",
    port: 80,
    weight: 3,
  });
});

it("a configuration without such names, or with logical ones, goes on as it is and at once", () => {
  const { published, dns, asked } = world({});
  for (const config of [meshOf(["10.0.0.1"], null), meshOf(["a.example.com"], { ...strict, kind: "logical" })]) {
    expect(dns.publish(config)).toBeUndefined();
    expect(published.at(-1)).toBe(config);
  }
  expect(asked).toEqual([]);
});

it("looks up again after the time to live, else after refreshMs; publishes when the answer changed, and only then", async () => {
  const answers: Answers = { "a.example.com": ["10.0.0.1"] };
  const { clock, published, dns, asked } = world(answers, 2_000);
  await dns.publish(meshOf(["a.example.com"]));
  clock.advance(2_000);
  await settled();
  expect([asked.length, published.length]).toEqual([2, 1]);
  answers["a.example.com"] = ["10.0.0.1", "10.0.0.2"];
  clock.advance(2_000);
  await settled();
  expect(addresses(published[1])).toEqual(["10.0.0.1:80", "10.0.0.2:80"]);
  const other = world({ "a.example.com": ["10.0.0.1"] });
  await other.dns.publish(meshOf(["a.example.com"]));
  other.clock.advance(59_999);
  await settled();
  expect(other.asked).toHaveLength(1);
  other.clock.advance(1);
  expect(other.asked).toHaveLength(2);
});

it("a failed look-up keeps the last addresses, says so, and is tried again after failureRefreshMs", async () => {
  const answers: Answers = { "a.example.com": ["10.0.0.1"] };
  const { clock, published, dns, asked, warnings } = world(answers);
  await dns.publish(meshOf(["a.example.com"]));
  answers["a.example.com"] = new Error("SERVFAIL");
  clock.advance(60_000);
  await settled();
  expect(published).toHaveLength(1);
  expect(warnings[0]).toContain("a.example.com cannot be looked up (SERVFAIL): its last addresses stay");
  clock.advance(5_000);
  expect(asked).toHaveLength(3);
});

it("a name that is not there is an empty cluster, and fills when it comes", async () => {
  const answers: Answers = { "a.example.com": new Error("ENOTFOUND") };
  const { clock, published, dns } = world(answers);
  await dns.publish(meshOf(["a.example.com"]));
  expect(addresses(published[0])).toEqual([]);
  answers["a.example.com"] = ["10.0.0.1"];
  clock.advance(5_000);
  await settled();
  expect(addresses(published.at(-1))).toEqual(["10.0.0.1:80"]);
});

it("a name server that does not answer holds a configuration back for five seconds, no longer", async () => {
  const { clock, published, dns } = world({ "a.example.com": undefined });
  const done = dns.publish(meshOf(["a.example.com"]));
  await settled();
  expect(published).toHaveLength(0);
  clock.advance(5_000);
  await done;
  expect(addresses(published[0])).toEqual([]);
});

it("a newer configuration is not overwritten by one that waited; what only the older needed is not looked up again", async () => {
  const { clock, published, dns, asked } = world({ "slow.example.com": undefined, "a.example.com": ["10.0.0.1"] });
  const older = dns.publish(meshOf(["slow.example.com"]));
  await dns.publish(meshOf(["a.example.com"]));
  clock.advance(5_000);
  await older;
  expect(published).toHaveLength(1);
  expect(addresses(published[0])).toEqual(["10.0.0.1:80"]);
  clock.advance(120_000);
  await settled();
  expect(asked.filter((host) => host === "slow.example.com")).toHaveLength(1);
});

it("an unchanged cluster stays the same object through changes elsewhere (R14)", async () => {
  const { published, dns } = world({ "a.example.com": ["10.0.0.1"] });
  const config = meshOf(["a.example.com"]);
  await dns.publish(config);
  void dns.publish({ ...config, outbound: new Map() });
  expect(published[1]!.clusters.get("c")).toBe(published[0]!.clusters.get("c"));
});
