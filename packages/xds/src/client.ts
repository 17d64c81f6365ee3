import { inTurns } from "@trama/engine";
import type { EndpointSet, MeshConfig, RouteConfiguration, Sliced } from "@trama/engine";

import { Assembly, type Touched } from "./assemble.ts";
import type { Root } from "./published.ts";
import type { XdsServer } from "./bootstrap.ts";
import type { XdsClient, XdsClientOptions } from "./client-face.ts";
import { XdsError } from "./errors.ts";
import { LastGood } from "./last-good.ts";
import type { KeptResource } from "./last-good-format.ts";
import { protoNode } from "./node.ts";
import { ResourceTable, type TableOptions } from "./resource-table.ts";
import { type DecodedCluster, clusterType } from "./resources/cluster.ts";
import { endpointType } from "./resources/endpoint.ts";
import { ResourceError } from "./resources/error.ts";
import { type DecodedListener, listenerType } from "./resources/listener.ts";
import { routeType } from "./resources/route.ts";
import type { ResourceType } from "./resources/type.ts";
import { Roots } from "./roots.ts";
import { Servers, type ServersUser } from "./servers.ts";
import type { ResourceTypeName, XdsStatus } from "./status.ts";
import { createBackoff } from "./stream/backoff.ts";
import { openDelta } from "./stream/delta.ts";
import { openEither } from "./stream/either.ts";
import type { Fault, Update } from "./stream/session.ts";
import { sotwSessions } from "./stream/sotw.ts";
import { streamError } from "./stream/status.ts";
import type { StreamStatus } from "./stream/transport.ts";

/** Makes a client; it does nothing until `start()`. */
export function createXdsClient(options: XdsClientOptions): XdsClient {
  return new Client(options);
}

type AnyTable =
  | ResourceTable<DecodedListener>
  | ResourceTable<RouteConfiguration>
  | ResourceTable<DecodedCluster>
  | ResourceTable<EndpointSet>;

/**
 * Puts the parts together. A response goes: stream → table (decode, validate) → assembly → published configuration →
 * new subscriptions → acknowledgement. All of it in one turn of the event loop, unless `onConfig` asks for more.
 */
class Client implements XdsClient, ServersUser {
  readonly #options: XdsClientOptions;
  readonly #roots: Roots;
  readonly #tables: {
    readonly listener: ResourceTable<DecodedListener>;
    readonly route: ResourceTable<RouteConfiguration>;
    readonly cluster: ResourceTable<DecodedCluster>;
    readonly endpoint: ResourceTable<EndpointSet>;
  };
  readonly #byTypeUrl: ReadonlyMap<string, AnyTable>;
  readonly #assembly: Assembly;
  readonly #servers: Servers;
  readonly #lastGood: LastGood | undefined;
  /** The present stream works, and the server answers: what is held is what it has. */
  #confirmed = false;
  /** When the last stream that worked ended, by the wall clock. */
  #confirmedMs = 0;
  #ownVersions = true;
  #lastError: XdsError | undefined;
  #syncing = false;
  /** A configuration is on its way into force. */
  #publishing: Promise<void> | undefined;
  #closed = false;

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#assembly = new Assembly(options.bootstrap.node.locality);
    this.#roots = new Roots({
      bootstrap: options.bootstrap,
      clock: options.clock,
      waitTimeoutMs: options.waitTimeoutMs ?? 20_000,
      maxNames: options.maxNames ?? 10_000,
      outcome: (resource) => this.#assembly.outcome(resource),
      why: (waitingFor) => this.#whyWaiting(waitingFor),
    });
    // The order in which a new stream asks: what makes before what breaks (I15).
    const cluster = this.#table("cluster", clusterType, "keep");
    const endpoint = this.#table("endpoint", endpointType, "keep");
    const listener = this.#table("listener", listenerType, "drop", (name, value) => this.#checkListener(name, value));
    const route = this.#table("route", routeType, "keep");
    this.#tables = { listener, route, cluster, endpoint };
    this.#byTypeUrl = new Map<string, AnyTable>([cluster, endpoint, listener, route].map((one) => [one.typeUrl, one]));
    const { clock, log, bootstrap, lastGood } = options;
    const confirmed = (): boolean => this.#confirmed;
    const server = bootstrap.servers[0].uri;
    this.#lastGood = lastGood && new LastGood({ ...lastGood, clock, log, server, confirmed, held: () => this.#held() });
    const { transport } = options;
    this.#servers = new Servers({
      servers: typeof transport === "function" ? bootstrap.servers : [bootstrap.servers[0]],
      transport: typeof transport === "function" ? transport : () => transport,
      sessions: () => (options.variant === "sotw" ? sotwSessions() : openEither(openDelta, sotwSessions())),
      backoff: () => createBackoff(options.random, options.backoff),
      node: protoNode(bootstrap.node),
      clock,
      log,
      doesNotExistTimeoutMs: options.doesNotExistTimeoutMs ?? 15_000,
      user: this,
    });
  }

  #table<T>(
    name: ResourceTypeName,
    type: ResourceType<T>,
    onRemoval: TableOptions<T>["onRemoval"],
    check?: TableOptions<T>["check"],
  ): ResourceTable<T> {
    const { bootstrap, clock, log, regex } = this.#options;
    const usable = [...bootstrap.certificateProviders].filter(([, provider]) => provider.kind !== "unsupported");
    const strict = bootstrap.servers[0].features.has("fail_on_data_errors");
    return new ResourceTable({
      name,
      type,
      decode: { regex, certificateProviders: new Set(usable.map(([instance]) => instance)) },
      clock,
      log,
      onRemoval: strict ? "drop" : onRemoval,
      dropRefused: strict,
      check,
      onExpired: (expired) => this.#changed({ [name]: [expired] }),
    });
  }

  // ── the face ───────────────────────────────────────────────────────────────────────────────────────────────────

  get config(): MeshConfig {
    return this.#assembly.config;
  }

  start(): void {
    const { bootstrap, log, transport } = this.#options;
    const [first, ...others] = bootstrap.servers;
    if (others.length > 0 && typeof transport !== "function")
      log.warn(`of the bootstrap's xds_servers only the first is used: ${first.uri}`);
    if (bootstrap.authorities.size > 0) log.warn("the bootstrap's authorities are not used: names go to xds_servers");
    this.#servers.start();
  }

  async restore(): Promise<boolean> {
    const found = (await this.#lastGood?.restore()) ?? false;
    if (found && !this.#closed) this.#changed({});
    return found;
  }

  outbound(name: string): Promise<"found" | "missing"> {
    return this.#ask("outbound", name);
  }

  inbound(address: string): Promise<"found" | "missing"> {
    return this.#ask("inbound", address);
  }

  release(name: string): void {
    if (this.#roots.release("outbound", name)) this.#syncSoon();
  }

  status(): XdsStatus {
    const tables = this.#tables;
    return {
      connected: this.#servers.connected,
      server: this.#servers.current.uri,
      lastError: this.#lastError,
      // Made when it is looked at: there may be ten thousand of them.
      get resources() {
        return [
          ...tables.listener.statuses(),
          ...tables.route.statuses(),
          ...tables.cluster.statuses(),
          ...tables.endpoint.statuses(),
        ];
      },
    };
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#servers.close();
      this.#roots.close(new XdsError("CLOSED", "the mesh was closed; join it again to ask for configuration"));
    }
    await this.#lastGood?.close();
    for (const table of this.#byTypeUrl.values()) table.close();
  }

  #ask(side: Root["side"], key: string): Promise<"found" | "missing"> {
    if (this.#closed) return Promise.reject(new XdsError("CLOSED", `the mesh is closed; ${key} cannot be asked for`));
    const { answer, added } = this.#roots.ask(side, key);
    if (added) this.#syncSoon();
    return answer;
  }

  /** Names asked for in one turn of the event loop go out in one request. */
  #syncSoon(): void {
    if (this.#syncing || this.#closed) return;
    this.#syncing = true;
    queueMicrotask(() => {
      this.#syncing = false;
      if (!this.#closed) this.#changed({});
    });
  }

  // ── the servers' user ────────────────────────────────────────────────────────────────────────────────────

  wanted(): ReadonlyMap<string, ReadonlySet<string>> {
    return new Map(Array.from(this.#byTypeUrl, ([typeUrl, table]) => [typeUrl, table.names]));
  }

  versions(typeUrl: string, server: XdsServer): Readonly<Record<string, string>> {
    return this.#byTypeUrl.get(typeUrl)?.versions(server.uri) ?? {};
  }

  needy(): boolean {
    return [...this.#byTypeUrl.values()].some((table) => table.needy);
  }

  /** Large resources are decoded a slice in each turn of the event loop, before all of the response is put in force at once. */
  prepare({ typeUrl, resources }: Update): Promise<void> | undefined {
    const table = this.#byTypeUrl.get(typeUrl);
    const large = resources.flatMap((resource) => table?.ahead(resource) ?? []);
    return large.length === 0 ? undefined : this.#inSlices(large);
  }

  /** What came before it, receiving the message, and what follows, putting it in force, have turns of their own too. */
  async #inSlices(work: readonly Sliced<void>[]): Promise<void> {
    const { clock, nextTurn = () => new Promise<void>((resolve) => void clock.after(0, resolve)) } = this.#options;
    for (const each of work) {
      await nextTurn();
      await inTurns(each, () => clock.now(), nextTurn);
    }
    await nextTurn();
  }

  apply(update: Update, server: XdsServer): readonly Fault[] | Promise<readonly Fault[]> {
    const table = this.#byTypeUrl.get(update.typeUrl);
    if (table === undefined) return [];
    this.#confirmed = true;
    const keepDeleted = server.features.has("ignore_resource_deletion");
    const faults: Fault[] = [];
    const before = table.changes;
    this.#ownVersions = update.ownVersions;
    for (const resource of update.resources) {
      const fault = table.put(resource, server.uri);
      if (fault !== undefined) faults.push(fault);
      this.#lastGood?.forget(update.typeUrl, resource.name);
    }
    for (const name of update.removed) {
      table.remove(name, keepDeleted);
      this.#lastGood?.forget(update.typeUrl, name);
    }
    if (table.changes !== before) this.#lastGood?.changed();
    const names = [...update.resources.map((resource) => resource.name), ...update.removed];
    const published = this.#refresh({ [table.name]: names });
    if (published === undefined) return faults; // what it led to is asked for after the acknowledgement
    // What is no longer wanted was forgotten just now; the server must hear of it before it could be wanted again.
    this.#servers.sync();
    return published.then(() => faults);
  }

  unanswered(typeUrl: string, names: readonly string[]): boolean {
    const table = this.#byTypeUrl.get(typeUrl);
    if (table === undefined) return false;
    const restored = this.#restoreTable(table);
    if (restored.length > 0) this.#unconfirm(); // a server that says nothing is no better than one that is away
    const touched = [...restored, ...names.filter((name) => table.unanswered(name))];
    if (touched.length > 0) void this.#refresh({ [table.name]: touched });
    return touched.length > 0;
  }

  // ── what changed ───────────────────────────────────────────────────────────────────────────────────────────────

  /** For changes that no response brought. */
  #changed(touched: Touched): void {
    void this.#refresh(touched);
    this.#servers.sync();
    this.#servers.fallBack();
  }

  /** Assembles, publishes what changed, and settles what is wanted and who waits. Never throws. */
  #refresh(touched: Touched): Promise<void> | undefined {
    let changed = false;
    for (let next: Touched | undefined = touched; next !== undefined; next = this.#restoreWanted())
      changed = this.#assembly.update(this.#roots, this.#tables, next) || changed;
    // Nobody is told of what is not in force yet.
    const published = changed ? this.#publish() : this.#publishing;
    if (published === undefined) {
      this.#settle();
      return undefined;
    }
    return published.then(() => this.#settle());
  }

  /** A server that can be asked has the first word; while there is none, what was kept serves. `undefined`: there is no more to assemble. */
  #restoreWanted(): Touched | undefined {
    if (this.#confirmed || this.#lastGood === undefined) return undefined;
    const restored = Array.from(this.#byTypeUrl.values(), (table) => [table.name, this.#restoreTable(table)] as const);
    return restored.some(([, names]) => names.length > 0) ? Object.fromEntries(restored) : undefined;
  }

  /** The names of which there was something. */
  #restoreTable(table: AnyTable): string[] {
    const { typeUrl } = table;
    const lastGood = this.#lastGood;
    if (lastGood === undefined) return [];
    return table.restore(
      this.#options.bootstrap.servers[0].uri,
      (name) => lastGood.get(typeUrl, name),
      (name) => lastGood.forget(typeUrl, name),
    );
  }

  /** What is to be kept, each with the time until when it was known to be in force. */
  *#held(): Generator<KeptResource> {
    const confirmedMs = this.#confirmed ? this.#options.clock.wall() : this.#confirmedMs;
    for (const table of this.#byTypeUrl.values()) {
      for (const one of table.held(this.#options.bootstrap.servers[0].uri)) {
        yield { ...one, version: this.#ownVersions ? one.version : "", knownMs: Math.max(one.knownMs, confirmedMs) };
      }
    }
  }

  #publish(): Promise<void> | undefined {
    const failed = (error: unknown): void => this.#options.log.error("onConfig failed", { error });
    const over = (): void => {
      if (this.#publishing === publishing) this.#publishing = undefined;
    };
    let publishing: Promise<void> | undefined;
    try {
      publishing = this.#options.onConfig(this.#assembly.config)?.catch(failed).then(over);
    } catch (error) {
      failed(error);
    }
    this.#publishing = publishing;
    return publishing;
  }

  #settle(): void {
    this.#roots.settle();
    this.#tell();
  }

  #tell(): void {
    try {
      this.#options.onStatus?.(this.status());
    } catch (error) {
      this.#options.log.error("onStatus failed", { error });
    }
  }

  /** A listener must be of the kind that was asked for, and an inbound one must be for the very socket (R60, S44). */
  #checkListener(name: string, listener: DecodedListener): void {
    const root = this.#roots.byResource(name);
    if (root === undefined) return;
    if (root.side !== listener.kind) {
      throw new ResourceError(
        root.side === "outbound"
          ? "the name was asked for as an outbound one, and needs an api_listener"
          : "the name was asked for as an inbound one, and an api_listener is for outbound ones",
      );
    }
    if (listener.kind === "inbound" && !this.#roots.sameAddress(root.key, listener.address)) {
      throw new ResourceError(`address ${listener.address} is not the bound address ${root.key}`);
    }
  }

  // ── the connection ─────────────────────────────────────────────────────────────────────────────────────────────

  onOpened(): void {
    this.#tell();
  }

  onConnected(server: XdsServer): void {
    this.#lastError = undefined;
    this.#confirmed = true;
    this.#options.log.info("connected to the control plane", { server: server.uri });
    this.#tell();
  }

  /** Everything that is held stays in service (R18). The end of a stream that worked is rotation, not an error (R17). */
  onDisconnected(server: XdsServer, status: StreamStatus, worked: boolean, retryInMs: number): void {
    const { log, bootstrap } = this.#options;
    this.#unconfirm();
    const fields = { code: status.code, message: status.message, retryInMs: Math.round(retryInMs) };
    if (worked) log.info("the stream to the control plane ended; what is known stays in force", fields);
    else {
      this.#lastError = streamError(server.uri, status, bootstrap.node);
      log.warn(this.#lastError.message, fields);
    }
    if (this.#lastGood === undefined) this.#tell();
    else void this.#refresh({}); // who still waits for an answer may have it from what was kept
    // Waiting longer does not help somebody who is refused, unless there is another server; the next stream tries all the same.
    if (this.#servers.fallBack() || worked || this.#lastError === undefined) return;
    if (this.#lastError.code !== "CONTROL_PLANE_UNREACHABLE") this.#roots.fail(this.#lastError);
  }

  #unconfirm(): void {
    if (this.#confirmed) this.#confirmedMs = this.#options.clock.wall();
    this.#confirmed = false;
  }

  #whyWaiting(waitingFor: string): XdsError {
    if (!this.#servers.connected && this.#lastError !== undefined) return this.#lastError;
    const server = this.#servers.current.uri;
    if (!this.#servers.connected) {
      const message = `the control plane at ${server} cannot be reached; check its address and that it runs`;
      return new XdsError("CONTROL_PLANE_UNREACHABLE", message);
    }
    const message = `the control plane at ${server} sent nothing about ${waitingFor} in time; look at its log`;
    return new XdsError("TIMEOUT", message);
  }
}
