import type { AddressInfo, Server, Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import type {
  Clock,
  ConnectionFacts,
  DownstreamTls,
  Engine,
  InboundChain,
  InboundSnapshot,
  Logger,
  Peer,
  Snapshot,
} from "@trama/engine";
import type { IdentitySource, XdsClient } from "@trama/xds";

import { checkPeer, serverContextOptions, unknownProvider } from "../transport/tls.ts";
import { Connection, connections } from "./connection.ts";
import { type PendingSocket, Sniffer } from "./sniffer.ts";

/** Time for the first byte, for the first configuration, and for the TLS handshake, together. Node's own handshake limit is 120 s. */
const acceptTimeoutMs = 10_000;
/** As Istio's sidecars wait for somebody who may not speak first. */
const silentMs = 5_000;
const maxPending = 2_048;
/** A handshake costs a millisecond of CPU: a storm of them must not starve the requests of those who are in. */
const maxHandshakes = 256;

export interface ListenerOptions {
  readonly engine: Engine;
  readonly identity: Pick<IdentitySource, "current">;
  readonly discovery: Pick<XdsClient, "inbound">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Peers may wait for the server to speak first: then it is plaintext that they speak, where policy permits that. Default false. */
  readonly serverFirst?: boolean | undefined;
  /** Told when {@link MeshListener.waitingFor} may have changed by itself. */
  readonly onState?: (() => void) | undefined;
}

/**
 * The mesh at one bound port: mTLS and, where policy permits it, plaintext side by side. A socket goes from accepted over its first byte,
 * the first configuration and identity, and the handshake, to a {@link Connection} that the server's own protocol then reads. What may
 * not come in is cut before a byte of it is interpreted (R59, STRICT).
 */
export class MeshListener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #admit: (connection: Connection) => void;
  readonly #sniffer: Sniffer;
  readonly #live = new Set<Connection>();
  /** In their handshake, by remote `address:port`, for a TLS server does not say which socket became which. */
  readonly #handshakes = new Map<string, PendingSocket>();
  /** One for each way to ask for a client certificate; `requestCert` belongs to the server, not to its context. */
  readonly #tlsServers = new Map<boolean, TlsServer>();
  #tlsEpoch = 0;
  /** What is offered by ALPN, if anything; to be set before the first connection. */
  protocols: readonly string[] = ["http/1.1"];
  /** `ip:port` as bound; empty before it listens. */
  address = "";
  /** Why nobody needs to wait for a configuration: the control plane has none, or cannot be asked. What comes later counts all the same. */
  #hopeless: string | undefined;
  #stopped = false;
  #saidFull = false;
  #snapshot: Snapshot | undefined = undefined;
  #current: InboundSnapshot | undefined = undefined;

  constructor(server: Server, options: ListenerOptions, admit: (connection: Connection) => void) {
    this.#server = server;
    this.#options = options;
    this.#admit = admit;
    const { clock, serverFirst } = options;
    const limits = { clock, max: maxPending, timeoutMs: acceptTimeoutMs };
    this.#sniffer = new Sniffer(serverFirst === true ? { ...limits, silentMs } : limits, (pending) =>
      this.#route(pending),
    );
    server.on("connection", (raw: Socket) => this.#take(raw));
    server.on("listening", () => this.#listening());
    if (server.listening) this.#listening();
  }

  /** Why it serves nothing yet, for people; `undefined` when it does. */
  get waitingFor(): string | undefined {
    if (this.address === "") return "listen() on the server";
    if (this.#options.identity.current === undefined) return "a certificate";
    if (this.inbound() !== undefined) return undefined;
    return `the configuration of ${this.address}${this.#hopeless === undefined ? "" : `: ${this.#hopeless}`}`;
  }

  /** Live ones, those still in their handshake not counted. */
  get connections(): ReadonlySet<Connection> {
    return this.#live;
  }

  /** Whether the server is bound. */
  get listening(): boolean {
    return this.#server.listening;
  }

  /** Configuration or identity changed: lets in who waited for it, and ends what is no longer allowed (dataplane.md §23 rule 9). */
  refresh(): void {
    const identity = this.#options.identity.current;
    if (identity !== undefined && identity.epoch !== this.#tlsEpoch) {
      this.#tlsEpoch = identity.epoch;
      for (const server of this.#tlsServers.values()) server.setSecureContext(serverContextOptions(identity));
    }
    for (const pending of this.#sniffer.spoken()) if (!this.#handshakes.has(key(pending.raw))) this.#route(pending);
    const inbound = this.inbound();
    for (const connection of this.#live) if (!connection.closing && !connection.admitted(inbound)) connection.close();
  }

  /** Turns away whoever is not in yet, and whoever still comes. */
  stop(): void {
    this.#stopped = true;
    this.#sniffer.destroy();
  }

  /** Its configuration now in force. Asked with each request, so the look-up by name is made once for each snapshot. */
  inbound(): InboundSnapshot | undefined {
    const { current } = this.#options.engine;
    if (current !== this.#snapshot) {
      this.#snapshot = current;
      this.#current = this.address === "" ? undefined : current.inbound(this.address);
    }
    return this.#current;
  }

  #listening(): void {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") {
      this.#options.log.error("a mesh server must listen on a TCP port; it serves nothing on a pipe", {
        address: bound,
      });
      this.#stopped = true;
      return;
    }
    const address = (this.address = addressOf(bound));
    this.#snapshot = undefined;
    const { discovery, log } = this.#options;
    const answered = (hopeless: string | undefined): void => {
      this.#hopeless = hopeless;
      if (hopeless !== undefined) log.warn(`not serving ${address}: ${hopeless}`);
      this.refresh();
      this.#options.onState?.();
    };
    discovery.inbound(address).then(
      (answer) =>
        answered(
          answer === "found"
            ? undefined
            : "the control plane has none; is there a WorkloadEntry with this address and port?",
        ),
      (error: unknown) => answered(error instanceof Error ? error.message : String(error)),
    );
    this.#options.onState?.();
  }

  #take(raw: Socket): void {
    const inbound = this.inbound();
    if (this.#stopped || this.#full(inbound)) raw.destroy();
    else this.#sniffer.take(raw, this.#options.serverFirst === true && neverTls(inbound) ? "plaintext" : undefined);
  }

  /** As many connections are established as the port may have. Those that have not said who they are take nobody's place. */
  #full(inbound: InboundSnapshot | undefined): boolean {
    const max = inbound?.config.limits?.maxConnections ?? Infinity;
    if (this.#live.size < max) return (this.#saidFull = false);
    // Once until there is room again: whoever is closed learns nothing, and somebody should.
    if (!this.#saidFull)
      this.#options.log.warn(`${this.address} has the ${max} connections that it may have: others are closed`);
    return (this.#saidFull = true);
  }

  /** The socket has spoken. It waits in the sniffer, which bounds its time, until there is something to judge it by. */
  #route(pending: PendingSocket): void {
    const { raw, tls } = pending;
    const inbound = this.inbound();
    if (inbound === undefined || this.#options.identity.current === undefined) {
      if (this.#hopeless !== undefined && inbound === undefined) raw.destroy();
      return;
    }
    const facts = factsOf(raw, tls === true);
    const chain = facts && inbound.chain(facts);
    // TLS where plaintext is asked for, plaintext in STRICT: not a byte in answer.
    if (facts === undefined || chain === undefined || (chain.config.tls !== undefined) !== tls) raw.destroy();
    else if (chain.config.tls === undefined) this.#establish(raw, raw, facts, plaintextPeer(facts), inbound, chain);
    else this.#handshake(pending, chain.config.tls);
  }

  #handshake(pending: PendingSocket, tls: DownstreamTls): void {
    const { raw } = pending;
    const unknown = unknownProvider(tls);
    if (unknown !== undefined || tls.trust === undefined || this.#handshakes.size >= maxHandshakes) {
      if (unknown !== undefined)
        this.#options.log.error(
          `refusing TLS: the configuration asks for certificate provider ${JSON.stringify(unknown)}`,
        );
      raw.destroy();
      return;
    }
    const id = key(raw);
    this.#handshakes.set(id, pending);
    raw.on("close", () => this.#handshakes.delete(id));
    this.#tlsServer(tls.requireClientCertificate).emit("connection", raw);
  }

  #tlsServer(required: boolean): TlsServer {
    let server = this.#tlsServers.get(required);
    if (server === undefined) {
      const identity = this.#options.identity.current!;
      this.#tlsEpoch = identity.epoch;
      server = createTlsServer({
        ...serverContextOptions(identity),
        requestCert: true,
        rejectUnauthorized: required,
        ...(this.protocols.length > 0 && { ALPNProtocols: [...this.protocols] }),
        handshakeTimeout: acceptTimeoutMs,
        // What the parser of HTTP would have set, had it been there from the start.
        noDelay: true,
      });
      server.on("secureConnection", (secured) => this.#secured(secured));
      // The socket is destroyed by Node; the event must have a listener, and the peer's mistakes are no news.
      server.on("tlsClientError", () => {});
      this.#tlsServers.set(required, server);
    }
    return server;
  }

  /** The handshake is done and the chain of certificates verified; whose they are is our question. */
  #secured(secured: TLSSocket): void {
    const pending = this.#handshakes.get(key(secured));
    const facts = factsOf(secured, true);
    const inbound = this.inbound();
    const chain = facts && inbound?.chain(facts);
    const identity = this.#options.identity.current;
    // Asked again: the configuration may have changed during the handshake.
    if (
      pending === undefined ||
      facts === undefined ||
      inbound === undefined ||
      identity === undefined ||
      chain?.config.tls === undefined
    ) {
      secured.destroy();
      return;
    }
    this.#handshakes.delete(key(secured));
    const certificate = secured.getPeerX509Certificate();
    const { subjectNames, requireClientCertificate } = chain.config.tls;
    if (certificate === undefined && !requireClientCertificate) {
      this.#establish(secured, pending.raw, facts, plaintextPeer(facts), inbound, chain);
      return;
    }
    const id =
      secured.authorized && !secured.isSessionReused()
        ? checkPeer(certificate, subjectNames, identity.trustDomain)
        : "its certificate is not verified";
    if (typeof id === "string") {
      this.#options.log.warn(`refused a peer at ${facts.remoteAddress}: ${id}`);
      secured.destroy();
      return;
    }
    const peer: Peer = {
      ...plaintextPeer(facts),
      spiffeId: id.uri,
      trustDomain: id.trustDomain,
      namespace: id.namespace,
      serviceAccount: id.serviceAccount,
      mtls: true,
      serverName: secured.servername === false || secured.servername === undefined ? "" : String(secured.servername),
      notAfterMs: certificate!.validToDate.getTime(),
    };
    this.#establish(secured, pending.raw, facts, peer, inbound, chain);
  }

  #establish(
    socket: Socket,
    raw: Socket,
    facts: ConnectionFacts,
    peer: Peer,
    inbound: InboundSnapshot,
    chain: InboundChain,
  ): void {
    this.#sniffer.done(raw);
    if (!chain.admits(peer) || this.#full(inbound)) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, facts, peer, inbound, chain);
    connections.set(socket, connection);
    this.#live.add(connection);
    socket.on("close", () => this.#live.delete(connection));
    this.#admit(connection);
  }
}

/** Whatever a peer says first, it is no handshake. */
function neverTls(inbound: InboundSnapshot | undefined): boolean {
  if (inbound === undefined) return false;
  const { chains, defaultChain } = inbound.config;
  return chains.every(({ tls }) => tls === undefined) && defaultChain?.tls === undefined;
}

function key(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

/** `undefined`: the peer is gone already. */
export function factsOf(socket: Socket, tls: boolean): ConnectionFacts | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined)
    return undefined;
  return {
    transportProtocol: tls ? "tls" : "raw_buffer",
    remoteAddress: plain(remoteAddress),
    remotePort,
    localAddress: plain(localAddress),
    localPort,
  };
}

/** An IPv4 peer of a dual-stack socket has an IPv4 address (R55). */
function plain(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

export function plaintextPeer({ remoteAddress, remotePort, localAddress, localPort }: ConnectionFacts): Peer {
  return {
    spiffeId: undefined,
    trustDomain: "",
    namespace: "",
    serviceAccount: "",
    remoteAddress,
    remotePort,
    localAddress,
    localPort,
    mtls: false,
    serverName: "",
    notAfterMs: Infinity,
  };
}

export function addressOf({ address, port, family }: AddressInfo): string {
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}
