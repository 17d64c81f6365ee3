import type { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import { type Clock, MeshError, type ServerTls } from "@trama/engine";
import { certificateFacts } from "@trama/xds";

/** Files are looked at again by the first connection after this. */
const checkMs = 10_000;

interface Kept {
  context: SecureContext;
  /** What the files looked like when they were read. */
  stamp: string;
  checkedMs: number;
}

/**
 * What connections to servers outside of the mesh need from files of this machine. Read when the first one is made, and again when a
 * file changed; a pair that cannot be read leaves the last good one in force, and without one nothing is sent (R52).
 */
export class ServerContexts {
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Reads on the way to a connection, never on that of a request. */
  of(tls: ServerTls): SecureContext | MeshError {
    const key = JSON.stringify([tls.certificate, tls.roots, tls.crlFile]);
    const kept = this.#kept.get(key);
    const nowMs = this.#clock.now();
    if (kept !== undefined && nowMs - kept.checkedMs < checkMs) return kept.context;
    try {
      const stamp = filesOf(tls).map(stampOf).join();
      if (kept?.stamp === stamp) kept.checkedMs = nowMs;
      else this.#kept.set(key, { context: contextOf(tls), stamp, checkedMs: nowMs });
      return this.#kept.get(key)!.context;
    } catch (thrown) {
      if (kept !== undefined) {
        kept.checkedMs = nowMs;
        return kept.context;
      }
      const reason = (thrown as Error).message;
      return new MeshError("TLS_FAILED", `the files of the policy's tls cannot be used: ${reason}`, { cause: thrown });
    }
  }
}

/**
 * Whether a verified certificate is that of the server that the policy means; `undefined`: it is, else the reason for people. SANs
 * only: the subject's common name is no name of a server (RFC 6125).
 */
export function checkServer(certificate: X509Certificate, { names }: ServerTls): string | undefined {
  const uris = names.some(({ kind }) => kind === "uri") ? certificateFacts(certificate.raw).uris : [];
  const met = names.some(({ kind, value }) => {
    switch (kind) {
      case "dns":
        // R53: an exact name is met by the certificate's wildcard.
        return certificate.checkHost(value, { subject: "never" }) !== undefined;
      case "ip":
        return certificate.checkIP(value) !== undefined;
      case "email":
        return certificate.checkEmail(value, { subject: "never" }) !== undefined;
      case "uri":
        return uris.includes(value);
    }
  });
  if (met) return undefined;
  return `its certificate is for ${certificate.subjectAltName ?? "nobody"}, and not for ${names.map(({ value }) => value).join(" or ")}`;
}

function filesOf({ certificate, roots, crlFile }: ServerTls): readonly string[] {
  return [
    ...(certificate === undefined ? [] : [certificate.chainFile, certificate.keyFile]),
    ...(typeof roots === "object" ? [roots.file] : []),
    ...(crlFile === undefined ? [] : [crlFile]),
  ];
}

function stampOf(path: string): string {
  const { mtimeMs, size, ino } = statSync(path);
  return `${mtimeMs} ${size} ${ino}`;
}

function contextOf({ certificate, roots, crlFile }: ServerTls): SecureContext {
  return createSecureContext({
    minVersion: "TLSv1.2",
    ...(certificate === undefined
      ? {}
      : { cert: readFileSync(certificate.chainFile), key: readFileSync(certificate.keyFile) }),
    // Without it, what Node trusts: its own list and NODE_EXTRA_CA_CERTS.
    ...(typeof roots === "object" ? { ca: readFileSync(roots.file) } : {}),
    ...(crlFile === undefined ? {} : { crl: readFileSync(crlFile) }),
  });
}
