import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ServerCredentials } from "@grpc/grpc-js";
import { aggregatedDiscoveryService, istioCertificateService } from "@trama/proto";
import { type Logger, destination, pino } from "pino";

import { type AdsEvents, type AdsServer, adsServer } from "./ads/server.ts";
import { listedNodes } from "./ads/plaintext.ts";
import { type AdsLimits, defaultLimits } from "./ads/limits.ts";
import { authenticator } from "./auth/authenticate.ts";
import { issueJoinToken, type TokenRequest } from "./auth/join-token.ts";
import { loadTokenKey } from "./auth/token-key.ts";
import { loadAuthority } from "./ca/authority.ts";
import { type CertificateEvents, certificateService } from "./ca/service.ts";
import { certificateAuthority } from "./ca/certificate-authority.ts";
import { serverNames, serveWithOwnCertificate } from "./ca/serving.ts";
import { spiffeId } from "./auth/identity.ts";
import { type Clock, systemClock } from "./clock.ts";
import { type ControlPlaneConfig, type ControlPlaneOptions, parseOptions } from "./config.ts";
import { makePrivateDir } from "./data-dir.ts";
import { type Diagnostic, formatDiagnostic } from "./diagnostics.ts";
import { openFolders } from "./first-configuration.ts";
import { statusServer } from "./http.ts";
import { type ControlPlaneMetrics, controlPlaneMetrics } from "./metrics.ts";
import { grpcPort } from "./server.ts";
import type { SnapshotSource } from "./snapshot.ts";
import { sparingly } from "./sparing-log.ts";
import type { ClientStatus, ControlPlaneStatus } from "./status.ts";

/** A control plane that runs. */
export interface ControlPlane {
  /** `host:port` of the TLS port for ADS and certificates. */
  readonly address: string;
  readonly port: number;
  /** `host:port` of the plaintext ADS port, if there is one. */
  readonly plaintextAddress: string | undefined;
  /** Of the status server: `/healthz`, `/ready`, `/status`, `/metrics`. */
  readonly httpUrl: string;
  /** PEM file that clients must trust. */
  readonly rootCertFile: string;
  /** All findings about the configuration that hold now, errors first. */
  readonly diagnostics: readonly Diagnostic[];
  /** A token by which a process joins as that service account; it lives 1 second to 366 days. */
  issueToken(request: TokenRequest): Promise<string>;
  status(): ControlPlaneStatus;
  /** Ends the streams over the grace, then everything else. Calling it again gives the same promise. */
  close(): Promise<void>;
}

/** What a test, or another source of configuration, puts in place of the usual. */
export interface Environment {
  readonly openSource: (config: ControlPlaneConfig, rootsPem: string) => Promise<SnapshotSource>;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly limits?: Partial<AdsLimits>;
}

/** Starts the control plane on its folders of YAML. */
export function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  return runControlPlane(options, { openSource: (config, rootsPem) => openFolders(config, systemClock, rootsPem) });
}

/** Starts everything in order; if a step fails, what was started is closed again and the step's error is thrown. */
export async function runControlPlane(options: ControlPlaneOptions, environment: Environment): Promise<ControlPlane> {
  const config = parseOptions(options);
  const { clock = systemClock, random = Math.random } = environment;
  const limits: AdsLimits = {
    ...defaultLimits,
    maxConnectionAgeMs: config.maxConnectionAgeSeconds * 1_000,
    ...environment.limits,
  };
  const log = pino(
    { level: config.logLevel, base: { replica: config.identifier } },
    destination({ dest: 2, sync: true }),
  );
  const startedAt = new Date(clock.now()).toISOString();
  const graceMs = config.shutdownGraceSeconds * 1_000;
  const closers: (() => Promise<void> | void)[] = [];
  let closing = false;
  const closeAll = async (): Promise<void> => {
    closing = true;
    // Last started, first closed: the streams, the port, the certificates, the source; the status server is the last one
    // that answers, so that a probe sees "not ready" until the end.
    for (const close of closers.toReversed()) await close();
  };

  try {
    makePrivateDir(config.dataDir);
    const ownCa = config.caDir === undefined;
    const authority = loadAuthority(
      config.caDir ?? join(config.dataDir, "ca"),
      clock.now(),
      ownCa ? { trustDomain: config.trustDomain } : undefined,
    );
    const tokenKey = loadTokenKey(config.dataDir);

    let plaintextAds: AdsServer | undefined;
    const clients = (): ClientStatus[] => [...ads.clients(), ...(plaintextAds?.clients() ?? [])];
    const metrics = controlPlaneMetrics(ownVersion(), authority, clock, () => clients().length);
    const status = (): ControlPlaneStatus => ({
      identifier: config.identifier,
      startedAt,
      ready: !closing && source.current !== undefined,
      snapshotVersion: source.current?.version,
      ca: {
        rootExpiresAt: authority.roots.map((root) => root.validToDate.toISOString()).sort()[0] ?? "",
        signerExpiresAt: new Date(authority.notAfter).toISOString(),
      },
      clients: clients(),
      diagnostics: source.diagnostics,
    });

    const source = await environment.openSource(config, authority.rootsPem);
    closers.push(() => source.close());
    logDiagnostics(log, source.diagnostics);
    closers.push(source.onDiagnostics((diagnostics) => logDiagnostics(log, diagnostics)));

    const ca = certificateAuthority(
      authority,
      { defaultSeconds: config.certificateLifeSeconds, maxSeconds: config.maxCertificateLifeSeconds },
      () => clock.now(),
    );
    closers.push(() => ca.close());
    const names = serverNames(config.trustDomain, config.rootNamespace, [config.host, ...config.serverNames]);
    const serving = await serveWithOwnCertificate(ca, names, clock, (error) =>
      log.error({ err: error }, "the server's own certificate could not be renewed"),
    );
    closers.push(() => serving.close());

    const portOptions = {
      maxMessageBytes: limits.maxMessageBytes,
      maxConnections: limits.maxStreams,
      maxConnectionAgeMs: limits.maxConnectionAgeMs,
      clock,
    };
    const port = grpcPort({ ...portOptions, host: config.host, port: config.port });
    const authenticate = authenticator(tokenKey, config.trustDomain, () => clock.now());
    const { identifier } = config;
    const adsOptions = { source, clock, random, limits, identifier, events: adsEvents(log, metrics, clock) };
    const ads = adsServer({ ...adsOptions, authenticate, connections: port.connections });
    port.offer(aggregatedDiscoveryService, ads.service);
    port.offer(istioCertificateService, certificateService(ca, authenticate, certificateEvents(log, metrics)));
    const boundPort = await port.listen(serving.credentials);
    closers.push(() => port.close(PORT_GRACE_MS));
    closers.push(() => ads.close(graceMs));

    let plaintextAddress: string | undefined;
    if (config.plaintextPort !== undefined) {
      const plain = grpcPort({ ...portOptions, host: LOOPBACK, port: config.plaintextPort });
      plaintextAds = adsServer({
        ...adsOptions,
        authenticate: listedNodes(config.plaintextNodes, config.trustDomain, { clock, ...limits }),
        connections: plain.connections,
        // The other server tells of each publication already.
        events: { ...adsOptions.events, published: () => {} },
      });
      plain.offer(aggregatedDiscoveryService, plaintextAds.service);
      plaintextAddress = `${LOOPBACK}:${await plain.listen(ServerCredentials.createInsecure())}`;
      closers.push(() => plain.close(PORT_GRACE_MS));
      closers.push(() => plaintextAds?.close(graceMs));
      log.warn({ plaintextAddress, nodes: config.plaintextNodes.length }, "ADS in plaintext is open on loopback");
    }

    const http = await statusServer({
      host: config.httpHost,
      port: config.httpPort,
      status,
      metrics: metrics.registry,
    });
    closers.unshift(() => http.close());

    if (!/^(127\.|::1$|localhost$)/.test(config.httpHost))
      log.warn({ httpHost: config.httpHost }, "the status server has no authentication and is open beyond loopback");
    const address = `${config.host.includes(":") ? `[${config.host}]` : config.host}:${boundPort}`;
    log.info({ address, status: http.url, configDirs: config.configDirs }, "the control plane serves");
    let closed: Promise<void> | undefined;
    return {
      address,
      port: boundPort,
      plaintextAddress,
      httpUrl: http.url,
      rootCertFile: authority.rootCertFile,
      get diagnostics() {
        return source.diagnostics;
      },
      issueToken: (request) => issueJoinToken(tokenKey, request, clock.now()),
      status,
      close: () => (closed ??= closeAll()),
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** For the last statuses to reach their clients, and for signing requests under way. */
const PORT_GRACE_MS = 1_000;
/** Plaintext is never offered elsewhere (S32). */
const LOOPBACK = "127.0.0.1";

function ownVersion(): string {
  // The same relative path from src and from dist.
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

const MAX_LOGGED_DIAGNOSTICS = 50;

function logDiagnostics(log: Logger, diagnostics: readonly Diagnostic[]): void {
  for (const diagnostic of diagnostics.slice(0, MAX_LOGGED_DIAGNOSTICS))
    log[diagnostic.severity === "error" ? "error" : "warn"]({ code: diagnostic.code }, formatDiagnostic(diagnostic));
  const more = diagnostics.length - MAX_LOGGED_DIAGNOSTICS;
  if (more > 0) log.error(`${more} more findings; /status has them all`);
}

/** What is worth a line in the log, besides the metrics. */
function adsEvents(log: Logger, { ads }: ControlPlaneMetrics, clock: Clock): AdsEvents {
  const ofStrangers = sparingly(clock);
  const ofClients = sparingly(clock);
  return {
    ...ads,
    acked: () => {},
    identified: (node) => log.debug({ node: node.id, namespace: node.namespace, kind: node.kind }, "node connected"),
    nacked(node, typeUrl, text) {
      ads.nacked(node, typeUrl, text);
      ofClients((more) =>
        log.warn({ node: node.id, typeUrl, nack: text, ...more }, "a client refused its configuration"),
      );
    },
    unknownType: (node, typeUrl) =>
      ofClients((more) => log.warn({ node: node.id, typeUrl, ...more }, "a client asks for a type that is not served")),
    sendTimedOut(node, typeUrl) {
      ads.sendTimedOut(node, typeUrl);
      log.warn({ node: node.id, typeUrl }, "a client that takes nothing any more was cut");
    },
    crashed(error) {
      ads.crashed(error);
      log.error({ err: error }, "a stream was ended by a fault of the control plane");
    },
    refused(peer, code, why) {
      ads.refused();
      ofStrangers((more) => log.warn({ peer, code, why, ...more }, "a stream was refused"));
    },
  };
}

function certificateEvents(log: Logger, { certificates }: ControlPlaneMetrics): CertificateEvents {
  return {
    ...certificates,
    refused(identity, why) {
      certificates.refused(identity, why);
      log.warn({ identity: spiffeId(identity), why }, "a signing request was refused");
    },
    failed(identity, why) {
      certificates.failed(identity, why);
      log.error({ identity: spiffeId(identity), why }, "a signing request failed");
    },
    issued(identity) {
      certificates.issued(identity);
      log.debug({ identity: spiffeId(identity) }, "a certificate was issued");
    },
  };
}
