import { Admission, createEngine, createMetrics, type Timer } from "@trama/engine";
import {
  type Bootstrap,
  bootstrapFor,
  type BootstrapOptions,
  bootstrapSource,
  createFileIdentity,
  createGrpcTransport,
  createIdentity,
  createXdsClient,
  fileLastGood,
  grpcSigner,
  IdentityError,
  type IdentitySource,
  type LastGoodOptions,
  noIdentity,
  pemBlocks,
  readBootstrap,
  readFileText,
  SharedConnection,
  type XdsClient,
  type XdsError,
} from "@trama/xds";
import { join } from "node:path";

import { claimProcess } from "./election.ts";
import { DnsClusters } from "./dns.ts";
import { createClock } from "./env/clock.ts";
import { ownAddress } from "./env/own-address.ts";
import { watchLoop } from "./env/loop-load.ts";
import { compileRegex } from "./env/regex.ts";
import { TramaError, type TramaErrorCode } from "./errors.ts";
import { JoinedMesh } from "./mesh.ts";
import type { Mesh } from "./mesh-types.ts";
import type { MeshOptions } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { checkRuntime } from "./runtime.ts";
import { type Settings, settingsOf } from "./settings.ts";
import { MeshDispatcher } from "./adapters/undici.ts";
import { EndpointProber } from "./transport/health-prober.ts";
import { UndiciTransport } from "./transport/undici.ts";
import { ownWorkload, peerText } from "./workload.ts";

/**
 * Joins the mesh: gets this process an identity, opens the one stream to the control plane, and returns when both are there. It fails
 * with one {@link TramaError}, at the latest after `joinTimeoutMs`, and leaves nothing behind then. Configuration comes
 * on demand: each host when it is first called, each server when it listens. While the control plane is away, a process that
 * has `identityDir` joins with what an earlier one kept there; one that is refused does not.
 */
export async function joinMesh(options: MeshOptions = {}): Promise<Mesh> {
  const settings = await settingsOf(options, process.env);
  checkRuntime(settings.log);
  const release = claimProcess();
  try {
    return await joinAs(settings, release);
  } catch (thrown) {
    release();
    throw asTramaError(thrown);
  }
}

async function joinAs(settings: Settings, release: () => void): Promise<Mesh> {
  const { log, joinTimeoutMs } = settings;
  const source =
    settings.bootstrap !== undefined
      ? { file: settings.bootstrap }
      : settings.controlPlane === ""
        ? bootstrapSource(process.env)
        : undefined;
  const bootstrap = source === undefined ? bootstrapFor(shortForm(settings)) : readBootstrap(source);
  const clock = createClock();
  const random = Math.random;
  const own = ownWorkload(named(settings, bootstrap));
  const metrics = createMetrics(own, { maxOperations: settings.metrics.grpcMethods });
  const address = settings.address ?? ownAddress();
  const admission = settings.overload && new Admission(settings.overload, { clock, random });
  const prober = new EndpointProber({
    transport: () => transport,
    snapshot: () => engine.current,
    now: () => clock.now(),
  });
  const engine = createEngine({
    clock,
    random,
    telemetry: metrics,
    log,
    regex: compileRegex,
    address,
    prober,
    admission,
    exempt: settings.exempt,
  });
  const shared = new SharedConnection();
  const identity = identityFor(bootstrap, settings, { clock, random, log }, shared);
  const [server] = bootstrap.servers;
  /** The control plane cannot be reached: what was kept will do, if there is something. */
  const away = Promise.withResolvers<void>();
  /** The control plane has left our stream standing. */
  const taken = Promise.withResolvers<void>();
  let standing: Timer | undefined;
  const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  const publisher = new Publisher({ engine, clock, nextTurn, onPublished: () => mesh.refresh() });
  const dns = new DnsClusters({
    clock,
    random,
    log,
    publish: (config) => publisher.publish(config),
  });
  const xds = createXdsClient({
    bootstrap,
    transport: (one) =>
      createGrpcTransport({
        server: one,
        certificate: () => Promise.resolve(showable(identity, clock.wall())),
        shared,
      }),
    clock,
    random,
    log,
    regex: compileRegex,
    nextTurn,
    waitTimeoutMs: settings.discoveryTimeoutMs,
    lastGood: keptIn(settings.identityDir, () => identity.current?.spiffeId),
    onConfig: (config) => dns.publish(config),
    onStatus: ({ connected, lastError }) => {
      if (lastError?.code === "CONTROL_PLANE_UNREACHABLE") away.resolve();
      if (connected) standing ??= clock.after(silenceMs, taken.resolve);
      else {
        standing?.cancel();
        standing = undefined;
      }
    },
  });
  const transport = new UndiciTransport({ identity, clock, random, peer: peerText(own) });
  const { outboundTrafficPolicy } = settings;
  const dispatcher = new MeshDispatcher({
    engine,
    transport,
    discovery: xds,
    clock,
    outboundTrafficPolicy,
  });
  const unwatch = admission && watchLoop(admission, clock);
  const mesh = new JoinedMesh({
    settings,
    clock,
    engine,
    metrics,
    identity,
    xds,
    dns,
    transport,
    dispatcher,
    random,
    release: () => {
      unwatch?.();
      release();
    },
  });
  identity.onChange(({ spiffeId }) => {
    own.principal = spiffeId;
    mesh.refresh();
  });
  const late = Promise.withResolvers<never>();
  const timer = clock.after(joinTimeoutMs, () => late.reject(tooLate(identity, xds, joinTimeoutMs)));
  // One that takes the connection and says nothing is as good as away.
  const silent = clock.after(joinTimeoutMs / 2, away.resolve);
  // Nobody but us keeps the process alive while it waits: the clock's timers do not.
  const hold = setInterval(() => {}, 60_000);
  try {
    const identified: Promise<unknown> = isAnonymous(bootstrap) ? Promise.resolve() : identity.start();
    // Without a token it is the certificate that proves us to the stream.
    if (server.call.length === 0) await Promise.race([identified, late.promise]);
    xds.start();
    const served = accepted(xds, taken.promise);
    served.catch(() => {});
    const kept = identified.then(async () => ((await xds.restore()) ? away.promise : served));
    await Promise.race([Promise.all([identified, Promise.race([served, kept])]), late.promise]);
    return mesh;
  } catch (thrown) {
    await mesh.close({ deadlineMs: 0 });
    throw thrown;
  } finally {
    clearInterval(hold);
    timer.cancel();
    silent.cancel();
    standing?.cancel();
    late.promise.catch(() => {});
  }
}

/** A name under a reserved domain (RFC 2606): no server knows it, but one that takes us says so. */
const probe = "join.trama.invalid:443";

/**
 * One that refuses us does so at once. One that does not may say nothing of a name that it does not know, as go-control-plane's caches
 * do, and so this is how long joining takes there.
 */
const silenceMs = 2_000;

/** A stream that is asked for nothing says nothing, not even that it refuses us. */
async function accepted(xds: XdsClient, taken: Promise<void>): Promise<void> {
  for (;;) {
    try {
      await Promise.race([xds.outbound(probe), taken]);
      return xds.release(probe);
    } catch (thrown) {
      const { code } = thrown as XdsError;
      // The others may pass, and the caller's patience has its own limit.
      if (code !== "CONTROL_PLANE_UNREACHABLE" && code !== "TIMEOUT") throw thrown;
    }
  }
}

function keptIn(folder: string | undefined, identity: () => string | undefined): LastGoodOptions | undefined {
  return folder === undefined ? undefined : { store: fileLastGood(join(folder, "last-good")), identity };
}

function shortForm(settings: Settings): BootstrapOptions {
  const {
    controlPlane,
    controlPlaneName,
    rootCertFile,
    rootCert,
    token,
    tokenFile,
    namespace,
    serviceAccount,
    workload,
    labels,
    address,
    clusterId,
    locality,
  } = settings;
  return {
    controlPlane,
    serverName: controlPlaneName,
    rootCertFile,
    rootCertPem: rootCert,
    token,
    tokenFile,
    namespace,
    serviceAccount,
    workload,
    labels,
    ip: address,
    clusterId,
    locality,
  };
}

/** A bootstrap file names the workload in its node's metadata; options go before it. */
function named(
  settings: Settings,
  { node: { metadata } }: Bootstrap,
): Pick<Settings, "workload" | "namespace" | "labels" | "clusterId"> {
  const text = (key: string): string => (typeof metadata[key] === "string" ? metadata[key] : "");
  const labels = metadata["LABELS"];
  return {
    workload: settings.workload || text("WORKLOAD_NAME"),
    namespace: settings.namespace || text("NAMESPACE"),
    clusterId: text("CLUSTER_ID") || settings.clusterId,
    labels:
      Object.keys(settings.labels).length > 0 || labels === null || typeof labels !== "object"
        ? settings.labels
        : (labels as Settings["labels"]),
  };
}

function identityFor(
  bootstrap: Bootstrap,
  settings: Settings,
  env: Pick<Parameters<typeof createIdentity>[0], "clock" | "random" | "log">,
  shared: SharedConnection,
): IdentitySource {
  if (isAnonymous(bootstrap)) return noIdentity();
  const provider = bootstrap.certificateProviders.get("default");
  const expected = { namespace: settings.namespace || undefined, serviceAccount: settings.serviceAccount || undefined };
  if (provider?.kind === "file_watcher") {
    const { certificateFile, privateKeyFile, caCertificateFile, refreshIntervalMs } = provider;
    if (certificateFile === undefined || privateKeyFile === undefined || caCertificateFile === undefined)
      throw new TramaError(
        "BOOTSTRAP_INVALID",
        "bootstrap: certificate_providers.default needs certificate_file, private_key_file and ca_certificate_file",
        { field: "certificate_providers.default" },
      );
    return createFileIdentity({
      ...env,
      certificateFile,
      privateKeyFile,
      caCertificateFile,
      refreshIntervalMs,
      expected,
    });
  }
  const [server] = bootstrap.servers;
  const roots = server.channel.kind === "tls" ? server.channel.roots : undefined;
  if (provider?.kind !== "mesh" || roots === undefined)
    throw new TramaError(
      "BOOTSTRAP_INVALID",
      "bootstrap: certificate_providers.default must be a file_watcher: there is no other source for this process's certificate",
      { field: "certificate_providers.default" },
    );
  return createIdentity({
    ...env,
    sign: grpcSigner(server, env.clock, shared),
    roots: async () => pemBlocks("pem" in roots ? roots.pem : await readRoots(roots.file)),
    expected,
    lifeSeconds: settings.certificateLifeSeconds,
    folder: settings.identityDir,
  });
}

/** gRPC's libraries take a file without certificates, and call in plaintext what policy lets them call so. */
function isAnonymous({ certificateProviders }: Bootstrap): boolean {
  return !certificateProviders.has("default");
}

function readRoots(file: string): Promise<string> {
  return readFileText(file).catch((cause: unknown) => {
    throw new IdentityError(
      "KEY_STORE_FAILED",
      `the root certificate in ${file} cannot be read (${(cause as Error).message})`,
      cause,
    );
  });
}

/** One that has ended would make the handshake fail, and with it the token that could save us. */
function showable(
  { current }: IdentitySource,
  nowMs: number,
): { certificatePem: string; privateKeyPem: string } | undefined {
  if (current === undefined || current.notAfterMs <= nowMs) return undefined;
  return { certificatePem: current.chainPem, privateKeyPem: current.keyPem };
}

/** The patience has ended: what was the matter last is why. */
function tooLate(identity: IdentitySource, xds: XdsClient, afterMs: number): TramaError {
  if (identity.current === undefined && identity.lastError !== undefined) return asTramaError(identity.lastError);
  const { lastError, server } = xds.status();
  if (lastError !== undefined) return asTramaError(lastError);
  return new TramaError(
    "CONTROL_PLANE_UNREACHABLE",
    `the control plane at ${server} did not answer within ${afterMs} ms; check its address and that it runs`,
  );
}

const codes: Readonly<Record<string, TramaErrorCode>> = {
  BOOTSTRAP_INVALID: "BOOTSTRAP_INVALID",
  CONTROL_PLANE_UNREACHABLE: "CONTROL_PLANE_UNREACHABLE",
  TIMEOUT: "CONTROL_PLANE_UNREACHABLE",
  UNAUTHENTICATED: "UNAUTHENTICATED",
  PERMISSION_DENIED: "PERMISSION_DENIED",
  CA_UNREACHABLE: "CA_UNREACHABLE",
  CA_REFUSED: "CA_REFUSED",
  CERTIFICATE_INVALID: "CERTIFICATE_INVALID",
  CLOCK_SKEW: "CLOCK_SKEW",
  KEY_STORE_FAILED: "KEY_STORE_FAILED",
  CLOSED: "CLOSED",
};

/** The one funnel: errors of the parts keep their code and message. */
function asTramaError(thrown: unknown): TramaError {
  if (thrown instanceof TramaError) return thrown;
  const {
    code = "",
    message = String(thrown),
    field,
  } = (thrown ?? {}) as { code?: string; message?: string; field?: string };
  return new TramaError(codes[code] ?? "INTERNAL", message, { field, cause: thrown });
}
