import { resolve } from "node:path";

import type { Clock } from "../clock.ts";
import { ControlPlaneError } from "../errors.ts";
import { requestCertificate, type WorkloadCertificate } from "./certificate-client.ts";
import { envoyBootstrap, identitySecret, rootSecret } from "./envoy-bootstrap.ts";
import { replaceFiles } from "./folder.ts";
import { grpcBootstrap } from "./grpc-bootstrap.ts";
import { fileNames, type Workload } from "./workload.ts";

/** What the files are for. */
export type Software =
  | { readonly kind: "grpc"; readonly plaintext: string | undefined }
  | {
      readonly kind: "envoy";
      readonly admin: string;
      readonly outbound: string;
      readonly application: string;
      readonly protocol: "delta" | "sotw";
    };

export interface BootstrapOptions {
  /** Made with mode 0700; the files in it have 0600 and appear together (BS16). */
  readonly dir: string;
  /** `host:port` of the control plane's TLS port. */
  readonly server: string;
  readonly workload: Workload;
  readonly software: Software;
  /** Of the certificate; 0 = what the control plane gives to those who name none. */
  readonly lifeSeconds: number;
  /** Read again for each request. */
  readonly rootPem: () => string;
  readonly token: () => Promise<string | undefined>;
}

/** Fetches a certificate and writes everything by which other software joins the mesh. */
export async function writeBootstrap(
  options: BootstrapOptions,
  present?: WorkloadCertificate,
): Promise<WorkloadCertificate> {
  const dir = resolve(options.dir);
  const { server, lifeSeconds } = options;
  const proof = { token: await options.token(), certificate: present };
  const certificate = await requestCertificate(server, options.rootPem(), proof, lifeSeconds);
  replaceFiles(dir, {
    [fileNames.key]: certificate.keyPem,
    [fileNames.chain]: certificate.chainPem,
    [fileNames.root]: certificate.rootPem,
    ...configuration({ ...options, dir }),
  });
  return certificate;
}

function configuration({ dir, workload, server, software }: BootstrapOptions): Record<string, string> {
  if (software.kind === "grpc")
    return { [fileNames.grpc]: grpcBootstrap({ dir, workload, server, plaintext: software.plaintext }) };
  return {
    [fileNames.envoy]: envoyBootstrap({ dir, workload, server, ...software }),
    [fileNames.identitySecret]: identitySecret(dir),
    [fileNames.rootSecret]: rootSecret(dir),
  };
}

/** After a failure; the pair in the folder serves on meanwhile (I30). */
const RETRY_MS = 10_000;

/**
 * Keeps the certificate fresh: a new one at half of its life, ± 1 % (I30), until `stopped`. Software that watches the files
 * takes it for new connections; open ones stay.
 */
export async function keepFresh(
  options: BootstrapOptions,
  first: WorkloadCertificate,
  env: { readonly clock: Clock; readonly random: () => number; readonly stopped: Promise<unknown> },
  onFailure: (error: ControlPlaneError) => void,
): Promise<void> {
  let certificate = first;
  let waitMs = halfLife(first, env);
  for (;;) {
    if ((await Promise.race([pause(env.clock, waitMs), env.stopped.then(() => "stopped" as const)])) === "stopped")
      return;
    try {
      certificate = await writeBootstrap(options, certificate);
      waitMs = halfLife(certificate, env);
    } catch (error) {
      if (!(error instanceof ControlPlaneError)) throw error;
      onFailure(error);
      waitMs = RETRY_MS;
    }
  }
}

function halfLife(
  { notAfter }: WorkloadCertificate,
  { clock, random }: { readonly clock: Clock; readonly random: () => number },
): number {
  const half = ((notAfter - clock.now()) / 2) * (0.99 + 0.02 * random());
  // At least a second, whatever the clocks say; at most a day, far below the limit of timers.
  return Math.min(Math.max(half, 1_000), 86_400_000);
}

function pause(clock: Clock, ms: number): Promise<"due"> {
  return new Promise((done) => void clock.after(ms, () => done("due")));
}
