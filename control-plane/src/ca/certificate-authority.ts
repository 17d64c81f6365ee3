import type { KeyObject } from "node:crypto";

import { type Identity, spiffeId } from "../auth/identity.ts";
import { type Authority, BACKDATE_MS } from "./authority.ts";
import type { AlternativeName } from "./certificate.ts";
import { SigningError, signingThread } from "./signing-thread.ts";

export interface LifeBounds {
  /** For a request that names none. */
  readonly defaultSeconds: number;
  readonly maxSeconds: number;
}

/** Shorter lives cannot be renewed in time. */
const MIN_LIFE_SECONDS = 10;

export interface CertificateAuthority {
  readonly authority: Authority;
  /**
   * A chain for a workload: leaf first, root last (I27). The name in it is the caller's identity, whatever the CSR asks
   * for (I28). `lifeSeconds` 0 means the default. Rejects with a SigningError.
   */
  issueWorkload(identity: Identity, csrPem: string, lifeSeconds: number): Promise<string[]>;
  /** A chain without the root, for this server's own port. */
  issueServer(publicKey: KeyObject, names: readonly AlternativeName[]): Promise<IssuedServerCertificate>;
  close(): Promise<void>;
}

export interface IssuedServerCertificate {
  readonly chainPem: string;
  readonly notAfter: number;
}

export function certificateAuthority(authority: Authority, life: LifeBounds, now: () => number): CertificateAuthority {
  const thread = signingThread({ keyPem: authority.signerKeyPem, certificateDer: authority.signer.raw });
  const intermediates = authority.intermediates.map(String);

  /** Cut to the signer's end, begun in the past for clocks that lag, but never before the signer (I29). */
  const validity = (lifeSeconds: number): { notBefore: number; notAfter: number } => {
    const at = now();
    if (at >= authority.notAfter)
      throw new SigningError(
        "failed",
        `the certificate authority expired at ${new Date(authority.notAfter).toISOString()}; it must be replaced`,
      );
    return {
      notBefore: Math.max(at - BACKDATE_MS, authority.notBefore),
      notAfter: Math.min(at + lifeSeconds * 1_000, authority.notAfter),
    };
  };

  return {
    authority,
    async issueWorkload(identity, csrPem, lifeSeconds) {
      const wanted = lifeSeconds === 0 ? life.defaultSeconds : lifeSeconds;
      if (!(wanted >= MIN_LIFE_SECONDS && wanted <= life.maxSeconds))
        throw new SigningError(
          "refused",
          `a life of ${wanted} s is not granted: ask for ${MIN_LIFE_SECONDS} to ${life.maxSeconds} s`,
        );
      const names = [{ kind: "uri", value: spiffeId(identity) }] as const;
      const leaf = await thread.sign({ key: { csrPem }, names, ...validity(wanted) });
      return [leaf, ...intermediates, authority.rootsPem];
    },
    async issueServer(publicKey, names) {
      const spkiDer = publicKey.export({ type: "spki", format: "der" });
      const { notBefore, notAfter } = validity(life.defaultSeconds);
      const leaf = await thread.sign({ key: { spkiDer }, names, notBefore, notAfter });
      return { chainPem: [leaf, ...intermediates].join(""), notAfter };
    },
    close: () => thread.close(),
  };
}
