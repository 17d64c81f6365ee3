import { lookup, Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import type {
  ClusterConfig,
  Clock,
  DnsDiscovery,
  EndpointConfig,
  EndpointSet,
  Logger,
  MeshConfig,
  Timer,
} from "@trama/engine";

/** What a name means now. */
export interface DnsAnswer {
  readonly addresses: readonly string[];
  /** For how long that is so, when the zone says it and it was asked for. */
  readonly ttlMs: number | undefined;
}

export interface DnsOptions {
  readonly clock: Clock;
  /** Uniform in [0, 1): look-ups of many processes must not march together. */
  readonly random: () => number;
  readonly log: Logger;
  /** Default: as every other look-up of this process (`getaddrinfo`); the time to live comes from the name server. */
  readonly lookup?: ((host: string, ttl: boolean) => Promise<DnsAnswer>) | undefined;
  /** Takes a configuration in which names are addresses. */
  readonly publish: (config: MeshConfig) => void | Promise<void>;
}

/** How long a configuration waits for the first answer about its new names; without one its clusters are empty. */
const firstAnswerMs = 5_000;
/** An answer is never asked for again sooner. */
const leastRefreshMs = 1_000;

/**
 * Stands between the control plane and the engine, and puts addresses in the place of the names of STRICT_DNS clusters: at once, and
 * again whenever an answer changes. A name that cannot be looked up keeps its last addresses. Names of LOGICAL_DNS stay, for there
 * each new connection looks up by itself.
 */
export class DnsClusters {
  readonly #options: DnsOptions;
  readonly #names = new Map<string, Name>();
  readonly #made = new WeakMap<
    ClusterConfig,
    { readonly answers: readonly unknown[]; readonly config: ClusterConfig }
  >();
  #latest: MeshConfig | undefined = undefined;
  /** Configurations that wait for first answers, and will then be published with all that is known. */
  #waiting = 0;
  #closed = false;

  constructor(options: DnsOptions) {
    this.#options = options;
  }

  /** A promise only when there are names that were never looked up. */
  publish(config: MeshConfig): void | Promise<void> {
    this.#latest = config;
    const first = this.#watch(config);
    if (first.length === 0) return this.#options.publish(this.#expand(config));
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(firstAnswerMs, late.resolve);
    this.#waiting++;
    return Promise.race([Promise.all(first), late.promise]).then(() => {
      timer.cancel();
      this.#waiting--;
      // A newer one publishes itself.
      if (this.#latest === config && !this.#closed) return this.#options.publish(this.#expand(config));
    });
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#names.values()) name.timer?.cancel();
    this.#names.clear();
  }

  /** Begins with new names and ends with those that nobody needs; what is still without its first answer. */
  #watch({ clusters }: MeshConfig): Promise<void>[] {
    const used = new Set<string>();
    for (const { dns, endpoints } of clusters.values()) {
      if (dns?.kind !== "strict") continue;
      for (const { host } of hostsOf(endpoints)) {
        const key = keyOf(host, dns);
        used.add(key);
        if (this.#names.has(key)) continue;
        const name: Name = { host, dns, addresses: undefined, timer: undefined, first: Promise.resolve() };
        this.#names.set(key, name);
        name.first = this.#look(key, name);
      }
    }
    for (const [key, name] of this.#names) {
      if (used.has(key)) continue;
      name.timer?.cancel();
      this.#names.delete(key);
    }
    return [...this.#names.values()].filter((name) => name.addresses === undefined).map((name) => name.first);
  }

  async #look(key: string, name: Name): Promise<void> {
    const { clock, random, log } = this.#options;
    const { host, dns } = name;
    let nextMs = dns.failureRefreshMs;
    let changed = false;
    try {
      const { addresses, ttlMs } = await (this.#options.lookup ?? systemLookup)(host, dns.respectTtl);
      const found = byFamily(addresses, dns.family);
      if (found.length === 0) throw new Error("it has no address of the wanted family");
      nextMs = Math.max(leastRefreshMs, (dns.respectTtl ? ttlMs : undefined) ?? dns.refreshMs);
      changed = !same(found, name.addresses);
      if (changed) name.addresses = found;
    } catch (error) {
      const kept = name.addresses === undefined ? "it has no endpoint until then" : "its last addresses stay";
      log.warn(`${host} cannot be looked up (${(error as Error).message}): ${kept}; asked again in ${nextMs} ms`);
      // Known to be without one, for now: nobody waits for it any more.
      changed = name.addresses === undefined;
      name.addresses ??= [];
    }
    if (this.#names.get(key) !== name) return;
    name.timer = clock.after(nextMs * (1 + random() * 0.1), () => void this.#look(key, name));
    if (changed && this.#waiting === 0) await this.#options.publish(this.#expand(this.#latest!));
  }

  #expand(config: MeshConfig): MeshConfig {
    let clusters: Map<string, ClusterConfig> | undefined;
    for (const [name, cluster] of config.clusters) {
      if (cluster.dns?.kind === "strict")
        (clusters ??= new Map(config.clusters)).set(name, this.#cluster(cluster, cluster.dns));
    }
    return clusters === undefined ? config : { ...config, clusters };
  }

  /** The same object as long as no answer changed. */
  #cluster(cluster: ClusterConfig, dns: DnsDiscovery): ClusterConfig {
    const answers = [...hostsOf(cluster.endpoints)].map(({ host }) => this.#names.get(keyOf(host, dns))?.addresses);
    const before = this.#made.get(cluster);
    if (before !== undefined && same(before.answers, answers)) return before.config;
    const made = { ...cluster, endpoints: this.#addresses(cluster.endpoints, dns) };
    this.#made.set(cluster, { answers, config: made });
    return made;
  }

  #addresses(set: EndpointSet, dns: DnsDiscovery): EndpointSet {
    // Two names may mean one address, which is one endpoint.
    const seen = new Set<string>();
    const expand = (endpoint: EndpointConfig): readonly EndpointConfig[] => {
      const hosts =
        isIP(endpoint.host) === 0 ? (this.#names.get(keyOf(endpoint.host, dns))?.addresses ?? []) : [endpoint.host];
      return hosts.flatMap((host) => {
        const address = host.includes(":") ? `[${host}]:${endpoint.port}` : `${host}:${endpoint.port}`;
        if (seen.has(address)) return [];
        seen.add(address);
        const { port, weight, health, tlsMode, workload, hashKey } = endpoint;
        return [{ address, host, port, weight, health, tlsMode, workload, hashKey }];
      });
    };
    const priorities = set.priorities.map((localities) =>
      localities.map((locality) => ({ ...locality, endpoints: locality.endpoints.flatMap(expand) })),
    );
    return { ...set, priorities };
  }
}

/** A name under one way to look it up. */
interface Name {
  readonly host: string;
  readonly dns: DnsDiscovery;
  /** `undefined` before the first answer; empty: there was none yet, but a failure. */
  addresses: readonly string[] | undefined;
  timer: Timer | undefined;
  /** Settles with the first answer or failure. */
  first: Promise<void>;
}

/** The endpoints whose host is a name. */
function* hostsOf({ priorities }: EndpointSet): Iterable<EndpointConfig> {
  for (const localities of priorities)
    for (const { endpoints } of localities) for (const each of endpoints) if (isIP(each.host) === 0) yield each;
}

function keyOf(host: string, { refreshMs, failureRefreshMs, respectTtl, family }: DnsDiscovery): string {
  return `${host} ${family} ${refreshMs} ${failureRefreshMs} ${respectTtl}`;
}

/** In a fixed order: the same addresses are the same answer. */
function byFamily(addresses: readonly string[], family: DnsDiscovery["family"]): readonly string[] {
  const of = (version: number): string[] => addresses.filter((each) => isIP(each) === version);
  const [v4, v6] = [of(4), of(6)];
  const wanted = {
    v4,
    v6,
    v4_preferred: v4.length > 0 ? v4 : v6,
    v6_preferred: v6.length > 0 ? v6 : v4,
    all: [...v4, ...v6],
  }[family];
  return [...new Set(wanted)].sort();
}

function same(a: readonly unknown[], b: readonly unknown[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((each, index) => each === b[index]);
}

/** `getaddrinfo` knows what the machine's owner has set up (files, search domains), but no time to live. */
async function systemLookup(host: string, wantsTtl: boolean): Promise<DnsAnswer> {
  const [found, ttlMs] = await Promise.all([
    lookup(host, { all: true, order: "verbatim" }),
    wantsTtl ? timeToLive(host) : undefined,
  ]);
  return { addresses: found.map(({ address }) => address), ttlMs };
}

async function timeToLive(host: string): Promise<number | undefined> {
  const resolver = new Resolver({ timeout: 1_000, tries: 2 });
  const answers = await Promise.allSettled([
    resolver.resolve4(host, { ttl: true }),
    resolver.resolve6(host, { ttl: true }),
  ]);
  const ttls = answers.flatMap((each) => (each.status === "fulfilled" ? each.value.map(({ ttl }) => ttl) : []));
  return ttls.length === 0 ? undefined : Math.min(...ttls) * 1_000;
}
