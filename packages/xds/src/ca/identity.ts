/** Who this process is, with everything TLS needs. Immutable; a renewal is a new one with the next epoch. */
export interface Identity {
  readonly keyPem: string;
  /** Leaf, then intermediates; never a root. */
  readonly chainPem: string;
  /** The roots of the trust domain, one PEM block each. */
  readonly rootsPem: readonly string[];
  readonly spiffeId: string;
  readonly trustDomain: string;
  /** Wall-clock milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Grows by one with each change: what is cached for an identity is cached by this number. */
  readonly epoch: number;
}

/** Where an identity comes from and is kept fresh: our control plane's CA, istiod, or files. */
export interface IdentitySource {
  /** The newest good one. It stays when a renewal fails, so judge by its `notAfterMs` at use (I29). */
  readonly current: Identity | undefined;
  /** Why the last attempt to renew failed; `undefined` after one that worked. */
  readonly lastError: IdentityError | undefined;
  /** Resolves with the first identity; rejects with an {@link IdentityError} when there is no hope of one. Idempotent. */
  start(): Promise<Identity>;
  /** Called after each change of `current`, the first included. */
  onChange(fn: (identity: Identity) => void): void;
  /** Stops renewing. `current` stays. Idempotent. */
  close(): void;
}

export type IdentityErrorCode =
  /** No answer from the certificate authority. */
  | "CA_UNREACHABLE"
  /** It refused: the token is missing, expired, foreign, or for another audience. */
  | "CA_REFUSED"
  /** What came is not to be used: another key, another identity, no known root, more than one name (I28). */
  | "CERTIFICATE_INVALID"
  /** By our clock it is not valid yet, or over already. */
  | "CLOCK_SKEW"
  /** Key, certificate or token cannot be written or read. */
  | "KEY_STORE_FAILED"
  | "CLOSED";

export class IdentityError extends Error {
  override readonly name = "IdentityError";
  readonly code: IdentityErrorCode;

  constructor(code: IdentityErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
