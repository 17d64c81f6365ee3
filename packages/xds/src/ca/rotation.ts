import type { Clock, Logger, Timer } from "@trama/engine";

import { checkIssued, checkKept, type ExpectedIdentity } from "./check.ts";
import { createSigningRequest } from "./csr.ts";
import { keep, readKept } from "./files.ts";
import { type Identity, IdentityError, type IdentitySource } from "./identity.ts";
import { type Signer, SigningFailure } from "./sign.ts";

export interface IdentityOptions {
  readonly sign: Signer;
  /** PEM text of the roots that this process was given; read for each issue, for it may be renewed under us (I3). */
  readonly roots: () => Promise<readonly string[]>;
  readonly expected: ExpectedIdentity;
  /** Asked life; the authority may grant less. */
  readonly lifeSeconds: number;
  /** Where key and certificate are kept for the next start; `undefined` = in memory only. */
  readonly folder: string | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** One issue is tried so often, after 100, 200, 400 and 800 ms (I30). */
const tries = 5;
const firstDelayMs = 100;
/** Between issues that failed as a whole: doubling up to a twentieth of the certificate's life, at most a minute. */
const minPauseMs = 1_000;
const maxPauseMs = 60_000;
/** The wall clock may be set while we wait, and a suspended machine does not count: no timer is trusted longer than this. */
const maxSleepMs = 600_000;

/**
 * The identity of this process from a certificate authority. Renewed at half of its life; while the authority is away the last good
 * pair stays in use, and asking goes on (I30). The first one may come from the folder, so that a process starts while the control
 * plane is down.
 */
export function createIdentity(options: IdentityOptions): IdentitySource {
  return new RotatingIdentity(options);
}

class RotatingIdentity implements IdentitySource {
  current: Identity | undefined = undefined;
  lastError: IdentityError | undefined = undefined;
  readonly #options: IdentityOptions;
  readonly #listeners: ((identity: Identity) => void)[] = [];
  readonly #waits = new Set<{ readonly timer: Timer; readonly resolve: () => void }>();
  #starting: Promise<Identity> | undefined = undefined;
  readonly #abort = new AbortController();
  #renewAtMs = 0;
  #closed = false;

  constructor(options: IdentityOptions) {
    this.#options = options;
  }

  start(): Promise<Identity> {
    return (this.#starting ??= this.#start());
  }

  onChange(fn: (identity: Identity) => void): void {
    this.#listeners.push(fn);
  }

  close(): void {
    this.#closed = true;
    this.#abort.abort(new IdentityError("CLOSED", "the mesh was closed"));
    for (const { timer, resolve } of this.#waits) {
      timer.cancel();
      resolve();
    }
    this.#waits.clear();
  }

  async #start(): Promise<Identity> {
    const kept = await this.#kept();
    if (kept !== undefined) this.#use(kept, kept.notBeforeMs);
    // Who starts waits for as long as there is hope; how long it has patience is its own affair.
    for (let pauseMs = minPauseMs; this.current === undefined; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
      try {
        await this.#issue();
      } catch (thrown) {
        const error = this.#failed(thrown);
        if (error.code !== "CA_UNREACHABLE" || this.#closed) throw error;
        await this.#sleep(pauseMs);
        if (this.#closed) throw new IdentityError("CLOSED", "closed before there was a certificate", error);
      }
    }
    void this.#renew();
    return this.current;
  }

  /** Until `close`. */
  async #renew(): Promise<void> {
    const { clock, log } = this.#options;
    let pauseMs = minPauseMs;
    while (!this.#closed) {
      const leftMs = this.#renewAtMs - clock.wall();
      if (leftMs > 0) {
        await this.#sleep(Math.min(leftMs, maxSleepMs));
        continue;
      }
      try {
        await this.#issue();
        pauseMs = minPauseMs;
      } catch (thrown) {
        if (this.#closed) return;
        const error = this.#failed(thrown);
        const { notAfterMs, notBeforeMs } = this.current!;
        log.warn("the certificate could not be renewed; the present one stays in use", {
          code: error.code,
          error: error.message,
          notAfter: new Date(notAfterMs).toISOString(),
        });
        await this.#sleep(pauseMs);
        pauseMs = Math.min(pauseMs * 2, maxPauseMs, Math.max(minPauseMs, (notAfterMs - notBeforeMs) / 20));
      }
    }
  }

  async #issue(): Promise<void> {
    const { sign, lifeSeconds, folder, clock, log } = this.#options;
    const { key, csrPem } = await createSigningRequest();
    const answer = await this.#signed(() => sign(csrPem, lifeSeconds, this.#proof(), this.#abort.signal));
    const roots = await this.#options.roots();
    if (this.#closed) throw new IdentityError("CLOSED", "closed while a certificate was asked for");
    const issued = checkIssued(key, answer, roots, this.#expected(), clock.wall());
    if (folder !== undefined) {
      try {
        await keep(folder, issued);
      } catch (thrown) {
        // A process that starts must not seem well; one that runs has an identity and goes on with the new one.
        if (this.current === undefined) throw thrown;
        log.error("the renewed certificate could not be kept; it is used from memory", {
          error: (thrown as Error).message,
        });
      }
    }
    this.#use(issued, clock.wall());
  }

  /** One issue, tried again while the failure may pass (I30). */
  async #signed(sign: () => Promise<readonly string[]>): Promise<readonly string[]> {
    for (let left = tries - 1, delayMs = firstDelayMs; ; left--, delayMs *= 2) {
      try {
        return await sign();
      } catch (thrown) {
        if (thrown instanceof SigningFailure) this.lastError = thrown.identityError;
        if (!(thrown instanceof SigningFailure) || !thrown.transient || left === 0 || this.#closed) throw thrown;
        await this.#sleep(delayMs);
      }
    }
  }

  async #kept(): Promise<Omit<Identity, "epoch"> | undefined> {
    const { folder, clock, log } = this.#options;
    if (folder === undefined) return undefined;
    const files = await readKept(folder);
    if (files === undefined) return undefined;
    try {
      return checkKept(files.keyPem, files.chainPem, await this.#options.roots(), this.#expected(), clock.wall());
    } catch (thrown) {
      log.info("the kept certificate is not used; a new one is asked for", { error: (thrown as Error).message });
      return undefined;
    }
  }

  #use(issued: Omit<Identity, "epoch">, sinceMs: number): void {
    const { random } = this.#options;
    this.lastError = undefined;
    // Half of what is left at the time of issue, give or take a hundredth of the life, so that a fleet does not renew at once.
    const lifeMs = issued.notAfterMs - sinceMs;
    this.#renewAtMs = sinceMs + Math.max(lifeMs * (0.5 + (random() - 0.5) / 50), 500);
    this.current = { ...issued, epoch: (this.current?.epoch ?? 0) + 1 };
    for (const listener of this.#listeners) listener(this.current);
  }

  /** A certificate that has ended would only make the handshake fail, and with it the token that could save us. */
  #proof(): { certificatePem: string; privateKeyPem: string } | undefined {
    const { current } = this;
    if (current === undefined || current.notAfterMs <= this.#options.clock.wall()) return undefined;
    return { certificatePem: current.chainPem, privateKeyPem: current.keyPem };
  }

  #expected(): ExpectedIdentity {
    return { ...this.#options.expected, trustDomain: this.current?.trustDomain ?? this.#options.expected.trustDomain };
  }

  #failed(thrown: unknown): IdentityError {
    const error =
      thrown instanceof SigningFailure
        ? thrown.identityError
        : thrown instanceof IdentityError
          ? thrown
          : new IdentityError("CERTIFICATE_INVALID", thrown instanceof Error ? thrown.message : String(thrown), thrown);
    this.lastError = error;
    return error;
  }

  /** With a fifth of jitter; ends early when closed. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const { clock, random } = this.#options;
      const wait = {
        resolve,
        timer: clock.after(ms * (0.9 + random() / 5), () => {
          this.#waits.delete(wait);
          resolve();
        }),
      };
      this.#waits.add(wait);
    });
  }
}
