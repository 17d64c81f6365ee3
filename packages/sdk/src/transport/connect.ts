import type { X509Certificate } from "node:crypto";
import { connect as connectTcp, isIP, type NetConnectOpts, type Socket } from "node:net";
import { connect as connectTls, type SecureContext, type TLSSocket } from "node:tls";
import { type Clock, type EndpointConfig, MeshError, ownDelay, type UpstreamTls } from "@trama/engine";
import type { Identity } from "@trama/xds";

import { checkServer, type ServerContexts } from "./server-tls.ts";
import { checkPeer, type SecureContexts, unknownProvider } from "./tls.ts";

/** What a connection was checked for when it was made; asked again with every request, as integers (dataplane.md §23 rule 8). */
export interface ConnectedPeer {
  readonly mtls: boolean;
  readonly spiffeId: string | undefined;
  readonly notAfterMs: number;
}

export const plaintextPeer: ConnectedPeer = { mtls: false, spiffeId: undefined, notAfterMs: Infinity };

/** Everything that decides what a new connection to an endpoint looks like. */
export interface ConnectOptions {
  readonly endpoint: EndpointConfig;
  readonly connectTimeoutMs: number;
  readonly tls: UpstreamTls | undefined;
  /** Present with `tls` of the mesh. */
  readonly identity: Identity | undefined;
  readonly contexts: SecureContexts;
  readonly servers: ServerContexts;
  readonly clock: Clock;
  /**
   * What is offered by ALPN, and must be taken when it is `h2`. Default `http/1.1`; nothing for `tcp`. Plaintext has none: there one
   * knows.
   */
  readonly protocol?: "http/1.1" | "h2" | "tcp";
  /** Silence before TCP asks whether the peer is there. Default a minute, as undici's. */
  readonly tcpKeepAliveMs?: number | undefined;
}

export type Connected = (error: MeshError | null, socket: Socket | null, peer: ConnectedPeer) => void;

/**
 * Opens one connection; `done` is called exactly once. The time-out covers TCP and TLS, as Envoy's `connect_timeout`
 * does. Every error is one before any byte of a request, so `sent` is false: that is what makes it safe to retry. What it returns
 * calls it off with an error, while nothing has come of it; nobody may then be left who would end it.
 */
export function connect(options: ConnectOptions, done: Connected): (reason: MeshError) => void {
  const { endpoint, connectTimeoutMs, tls, identity, clock } = options;
  const context = tls && contextOf(tls, options);
  if (context instanceof MeshError) {
    done(context, null, plaintextPeer);
    return () => {};
  }
  let finished = false;
  const socket = open(options, context);
  const finish = (error: MeshError | undefined, peer: ConnectedPeer): void => {
    if (finished) return;
    finished = true;
    timer.cancel();
    socket.removeListener("error", onError);
    socket.removeListener("close", onClose);
    if (error === undefined) return done(null, socket, peer);
    // Whatever the dying socket still says is of no interest, but must not be without a listener.
    socket.on("error", () => {});
    socket.destroy();
    done(error, null, peer);
  };
  let connected = false;
  const stage = (): "CONNECT_FAILED" | "TLS_FAILED" => (connected ? "TLS_FAILED" : "CONNECT_FAILED");
  const fail = (code: "CONNECT_FAILED" | "TLS_FAILED", reason: string, cause?: unknown, own = false): void =>
    finish(new MeshError(code, `${endpoint.address}: ${reason}`, { cause, ownDelay: own }), plaintextPeer);
  const onError = (error: NodeJS.ErrnoException): void =>
    finish(failureOf(endpoint.address, stage(), error, options.protocol), plaintextPeer);
  const onClose = (): void => fail(stage(), "closed before the connection stood");
  const nowMs = clock.now();
  const stalledMs = clock.stalled(nowMs);
  // Handshakes are our own work as much as the peer's: hundreds at once block the event loop.
  const timer = clock.after(connectTimeoutMs, () =>
    fail(
      "CONNECT_FAILED",
      `no connection within ${connectTimeoutMs} ms`,
      undefined,
      ownDelay(clock, nowMs, stalledMs, connectTimeoutMs),
    ),
  );
  socket.setNoDelay(true);
  socket.setKeepAlive(true, options.tcpKeepAliveMs ?? 60_000);
  socket.on("error", onError);
  socket.on("close", onClose);
  const callOff = (reason: MeshError): void => finish(reason, plaintextPeer);
  if (tls === undefined) {
    socket.once("connect", () => finish(undefined, plaintextPeer));
    return callOff;
  }
  socket.once("connect", () => (connected = true));
  socket.once("secureConnect", () => {
    const secured = socket as TLSSocket;
    const certificate = secured.getPeerX509Certificate();
    // Never happens, for no session is ever offered; if it did, the certificate would not be this connection's.
    if (secured.isSessionReused()) return fail("TLS_FAILED", "a resumed session cannot be verified");
    const peer = peerOf(certificate, tls, identity);
    if (typeof peer === "string") return fail("TLS_FAILED", `refused: ${peer}`);
    if (options.protocol === "h2" && secured.alpnProtocol !== "h2")
      return fail("TLS_FAILED", "it does not speak HTTP/2, which this call needs");
    finish(undefined, peer);
  });
  return callOff;
}

/** Who answered, or why it is not who it must be. OpenSSL has verified the chain. */
function peerOf(
  certificate: X509Certificate | undefined,
  tls: UpstreamTls,
  identity: Identity | undefined,
): ConnectedPeer | string {
  if (tls.kind !== "server") {
    const id = checkPeer(certificate, tls.subjectNames, identity!.trustDomain);
    if (typeof id === "string") return id;
    return { mtls: tls.identity !== undefined, spiffeId: id.uri, notAfterMs: certificate!.validToDate.getTime() };
  }
  if (certificate === undefined) return "it showed no certificate";
  const reason = tls.roots === "none" ? undefined : checkServer(certificate, tls);
  if (reason !== undefined) return reason;
  // Nothing of the mesh stands behind it, and one that is not verified may be long out of date.
  const notAfterMs = tls.roots === "none" ? Infinity : certificate.validToDate.getTime();
  return { mtls: false, spiffeId: undefined, notAfterMs };
}

function contextOf(tls: UpstreamTls, { contexts, servers, identity }: ConnectOptions): SecureContext | MeshError {
  return tls.kind === "server" ? servers.of(tls) : contexts.client(identity!, tls.identity !== undefined);
}

function open({ endpoint, tls, protocol }: ConnectOptions, secureContext: SecureContext | undefined): Socket {
  const { host, port } = endpoint;
  // Linux tells abstract sockets from paths by a first NUL.
  const place = port === 0 ? { path: host.startsWith("@") ? `\0${host.slice(1)}` : host } : { host, port };
  const address: NetConnectOpts & { highWaterMark: number } = { ...place, highWaterMark: 64 * 1024 };
  if (tls === undefined || secureContext === undefined) return connectTcp(address);
  return connectTls({
    ...place,
    secureContext,
    // An empty name sends no SNI; without one Node would send the host.
    servername: tls.serverName === undefined || isIP(tls.serverName) !== 0 ? "" : tls.serverName,
    ...(protocol === "tcp" ? {} : { ALPNProtocols: [protocol ?? "http/1.1"] }),
    rejectUnauthorized: tls.kind !== "server" || tls.roots !== "none",
    // The chain is verified by OpenSSL, the name by us when the handshake is done: see `secureConnect` above.
    checkServerIdentity: () => undefined,
  });
}

/** Why these settings cannot be used now; security fails closed, so nothing is tried then. */
export function refuseToConnect(
  tls: UpstreamTls,
  identity: Identity | undefined,
  nowMs: number,
): MeshError | undefined {
  if (tls.kind === "server") return undefined;
  const unknown = unknownProvider(tls);
  if (unknown !== undefined)
    return new MeshError(
      "TLS_FAILED",
      `the configuration asks for certificate provider ${JSON.stringify(unknown)}, which this process does not have`,
    );
  if (identity === undefined)
    return new MeshError("TLS_FAILED", "the configuration asks for mTLS, and there is no certificate yet");
  if (tls.identity !== undefined && nowMs >= identity.notAfterMs)
    return new MeshError(
      "TLS_FAILED",
      `our own certificate ended at ${new Date(identity.notAfterMs).toISOString()} and could not be renewed; see mesh.status()`,
    );
  return undefined;
}

/**
 * What a socket's error means. That this process or its machine can open no more is a limit of ours: it says nothing of the endpoint, and another
 * endpoint would fare no better.
 */
export function failureOf(
  address: string,
  stage: "CONNECT_FAILED" | "TLS_FAILED",
  error: NodeJS.ErrnoException,
  protocol: ConnectOptions["protocol"] = "http/1.1",
): MeshError {
  if (error.code === "EMFILE")
    return new MeshError(
      "OVERFLOW",
      `${address}: this process has as many files and sockets open as it may (EMFILE); \`ulimit -n\` says how many`,
      { cause: error },
    );
  if (error.code === "ENFILE")
    return new MeshError("OVERFLOW", `${address}: this machine can open no more files and sockets (ENFILE)`, {
      cause: error,
    });
  if (error.code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL") {
    const wanted = protocol === "h2" ? "HTTP/2" : "HTTP/1.1";
    return new MeshError(stage, `${address}: it does not speak ${wanted}, which this call needs`, { cause: error });
  }
  return new MeshError(stage, `${address}: ${describe(error)}`, { cause: error });
}

/** Node sums up the attempts at several addresses in an error without a message. */
function describe(error: NodeJS.ErrnoException): string {
  if (error instanceof AggregateError && error.message === "")
    return error.errors.map((each: unknown) => (each instanceof Error ? each.message : String(each))).join("; ");
  // OpenSSL's end with a line break.
  return error.message.trimEnd();
}
