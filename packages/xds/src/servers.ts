import type { Clock, Logger } from "@trama/engine";
import type { Node } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { XdsServer } from "./bootstrap.ts";
import { Ads } from "./stream/ads.ts";
import type { Backoff } from "./stream/backoff.ts";
import type { Fault, OpenSession, Update } from "./stream/session.ts";
import type { StreamStatus, StreamTransport } from "./stream/transport.ts";

export interface ServersOptions {
  /** By priority, first is best (BS3). */
  readonly servers: readonly [XdsServer, ...XdsServer[]];
  readonly transport: (server: XdsServer) => StreamTransport;
  /** A new memory of versions, for one server. */
  readonly sessions: () => OpenSession;
  readonly backoff: () => Backoff;
  readonly node: Node;
  readonly clock: Clock;
  readonly log: Logger;
  readonly doesNotExistTimeoutMs: number;
  readonly user: ServersUser;
}

/** Who is served; with each call comes the server that it is about. */
export interface ServersUser {
  wanted(): ReadonlyMap<string, ReadonlySet<string>>;
  /** Versions that this very server gave. */
  versions(typeUrl: string, server: XdsServer): Readonly<Record<string, string>>;
  prepare(update: Update): Promise<void> | undefined;
  apply(update: Update, server: XdsServer): readonly Fault[] | Promise<readonly Fault[]>;
  /** True if that changed anything: most timers ring for what was answered long ago. */
  unanswered(typeUrl: string, names: readonly string[]): boolean;
  /** Something is wanted of which nothing is held. */
  needy(): boolean;
  /** The stream to the server that is used stands, and has not answered yet. */
  onOpened(): void;
  onConnected(server: XdsServer): void;
  /** Of the server that is used. `worked`: it is rotation (R17). */
  onDisconnected(server: XdsServer, status: StreamStatus, worked: boolean, retryInMs: number): void;
}

/** One server that is used or tried. */
interface Link {
  readonly server: XdsServer;
  readonly ads: Ads;
  /** Its last stream ended without an answer. */
  failed: boolean;
  open: OpenSession;
}

/**
 * Uses the first server, and a lower one only if those above cannot be reached *and* something is needed that is not held (R66, gRFC
 * A71): a lower one may know less, and what is held is good. Those above are tried on; the first of them that answers is used
 * again, and all below it are let go. So there is never more than one server of which anything is taken; what the former one gave
 * stays in force until the present one has its word about it (R18).
 */
export class Servers {
  readonly #options: ServersOptions;
  /** From the first server to the one that is used. */
  readonly #links: Link[] = [];

  constructor(options: ServersOptions) {
    this.#options = options;
    this.#add(options.servers[0]);
  }

  /** The server that is used. */
  get current(): XdsServer {
    return this.#used().server;
  }

  get connected(): boolean {
    return this.#used().ads.connected;
  }

  /** Idempotent. */
  start(): void {
    this.#links[0]?.ads.start();
  }

  /** What is wanted may have changed. */
  sync(): void {
    for (const { ads } of this.#links) ads.sync();
  }

  /** Goes to the next server if that is due; true if it did. */
  fallBack(): boolean {
    const used = this.#used();
    const next = this.#options.servers[this.#links.length];
    if (next === undefined || !used.failed || used.ads.connected || !this.#options.user.needy()) return false;
    this.#options.log.warn(`the control plane ${used.server.uri} cannot be reached; ${next.uri} is asked meanwhile`);
    // What it was told before will be overwritten by another server's word: it must send everything again.
    used.open = this.#options.sessions();
    this.#add(next).ads.start();
    return true;
  }

  close(): void {
    for (const { ads } of this.#links) ads.close();
  }

  #used(): Link {
    const used = this.#links.at(-1);
    if (used === undefined) throw new Error("there is always a first server");
    return used;
  }

  #add(server: XdsServer): Link {
    const { user, transport, sessions, backoff, ...common } = this.#options;
    const link: Link = {
      server,
      failed: false,
      open: sessions(),
      ads: new Ads({
        ...common,
        open: (options) => link.open(options),
        transport: transport(server),
        backoff: backoff(),
        subscriber: {
          wanted: () => user.wanted(),
          versions: (typeUrl) => user.versions(typeUrl, server),
          prepare: (update) => user.prepare(update),
          apply: (update) => user.apply(update, server),
          unanswered: (typeUrl, names) => this.#used() === link && user.unanswered(typeUrl, names),
        },
        onOpened: () => {
          if (this.#used() === link) user.onOpened();
        },
        onAnswered: () => this.#backTo(link),
        onConnected: () => {
          link.failed = false;
          if (this.#used() === link) user.onConnected(server);
        },
        onDisconnected: (status, worked, delay) => {
          link.failed = !worked;
          if (this.#used() === link) user.onDisconnected(server, status, worked, delay);
        },
      }),
    };
    this.#links.push(link);
    return link;
  }

  /** It has answered: those below are not needed any more. Silence would not do, it may be the silence of a dead one. */
  #backTo(link: Link): void {
    const lower = this.#links.splice(this.#links.indexOf(link) + 1);
    if (lower.length === 0) return;
    for (const { ads } of lower) ads.close();
    this.#options.log.info(`the control plane ${link.server.uri} answers again`);
    this.#options.user.onConnected(link.server);
  }
}
