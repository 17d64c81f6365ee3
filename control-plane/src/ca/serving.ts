import { generateKeyPair } from "node:crypto";
import { isIP } from "node:net";
import type { SecureContextOptions } from "node:tls";
import { constants } from "node:crypto";
import { promisify } from "node:util";
import { ServerCredentials } from "@grpc/grpc-js";

import type { Clock } from "../clock.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";
import type { AlternativeName } from "./certificate.ts";

const generate = promisify(generateKeyPair);

/** A handshake that takes longer holds a socket for nothing. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** When a renewal fails, the next try. */
const RETRY_MS = 10_000;

/**
 * What makes every connection safe, whatever its certificate. Sessions are not resumed: Node then skips the check of the
 * client's certificate. A client without one may connect, because it may bring a token (S32).
 */
const policy = {
  minVersion: "TLSv1.2",
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
} as const;

/** grpc-js asks its credentials for the TLS context, and takes a newer one for new connections. */
class ServingCredentials extends ServerCredentials {
  constructor(context: SecureContextOptions) {
    super(
      { ...policy, requestCert: true, rejectUnauthorized: false, handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
      { ...policy, ...context },
    );
  }

  replace(context: SecureContextOptions): void {
    this.updateSecureContextOptions({ ...policy, ...context });
  }

  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

export interface Serving {
  readonly credentials: ServerCredentials;
  close(): void;
}

/**
 * The server's own certificate, from our own authority, renewed at half its life with a new key. New connections get the
 * new one; streams that are open stay on the old one undisturbed. Its key never leaves this process.
 */
export async function serveWithOwnCertificate(
  ca: CertificateAuthority,
  names: readonly AlternativeName[],
  clock: Clock,
  onFailure: (error: unknown) => void,
): Promise<Serving> {
  const issue = async (): Promise<{ context: SecureContextOptions; notAfter: number }> => {
    const { publicKey, privateKey } = await generate("ec", { namedCurve: "P-256" });
    const { chainPem, notAfter } = await ca.issueServer(publicKey, names);
    const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    return { context: { cert: chainPem, key, ca: ca.authority.rootsPem }, notAfter };
  };
  const first = await issue();
  const credentials = new ServingCredentials(first.context);
  let cancel = (): void => {};
  let closed = false;
  const arm = (delayMs: number): void => {
    // Longer than a day is never needed, and keeps far below the limit of timers.
    if (!closed) cancel = clock.after(Math.min(Math.max(delayMs, RETRY_MS), 86_400_000), () => void renew());
  };
  const renew = async (): Promise<void> => {
    try {
      const next = await issue();
      if (closed) return;
      credentials.replace(next.context);
      arm((next.notAfter - clock.now()) / 2);
    } catch (error) {
      onFailure(error);
      arm(RETRY_MS);
    }
  };
  arm((first.notAfter - clock.now()) / 2);
  return {
    credentials,
    close() {
      closed = true;
      cancel();
    },
  };
}

/** Where clients find this server, and who it is in the mesh. */
export function serverNames(
  trustDomain: string,
  rootNamespace: string,
  hosts: readonly string[],
): readonly AlternativeName[] {
  const all = new Set(["localhost", "127.0.0.1", "::1", ...hosts]);
  return [
    ...[...all].map((value): AlternativeName => ({ kind: isIP(value) === 0 ? "dns" : "ip", value })),
    { kind: "uri", value: `spiffe://${trustDomain}/ns/${rootNamespace}/sa/trama-control-plane` },
  ];
}
