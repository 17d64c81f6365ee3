import type { Clock, Logger, Timer } from "@trama/engine";

import { readFileText } from "../read-file.ts";
import { checkKept, type ExpectedIdentity, pemBlocks } from "./check.ts";
import { type Identity, IdentityError, type IdentitySource } from "./identity.ts";

export interface FileIdentityOptions {
  readonly certificateFile: string;
  readonly privateKeyFile: string;
  readonly caCertificateFile: string;
  readonly expected: ExpectedIdentity;
  /** How often the files are read; gRPC's default is 600 s (A29). */
  readonly refreshIntervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * The identity that somebody else keeps in files (gRPC's `file_watcher` provider). Certificate and key count as one pair: what does not
 * belong together is a write half done, and the last good pair stays (R52).
 */
export function createFileIdentity(options: FileIdentityOptions): IdentitySource {
  const { clock, log } = options;
  const listeners: ((identity: Identity) => void)[] = [];
  let current: Identity | undefined;
  let lastError: IdentityError | undefined;
  let starting: Promise<Identity> | undefined;
  let timer: Timer | undefined;
  let closed = false;

  const read = async (): Promise<Identity> => {
    const [chainPem, keyPem, rootsText] = await Promise.all(
      [options.certificateFile, options.privateKeyFile, options.caCertificateFile].map((file) =>
        readFileText(file).catch((cause: unknown) => {
          throw new IdentityError("KEY_STORE_FAILED", `${file} cannot be read (${(cause as Error).message})`, cause);
        }),
      ),
    );
    const checked = checkKept(keyPem!, chainPem!, pemBlocks(rootsText!), options.expected, clock.wall());
    if (
      current !== undefined &&
      current.chainPem === checked.chainPem &&
      current.rootsPem.join("") === checked.rootsPem.join("")
    )
      return current;
    current = { ...checked, epoch: (current?.epoch ?? 0) + 1 };
    for (const listener of listeners) listener(current);
    return current;
  };
  const again = (): void => {
    timer = clock.after(options.refreshIntervalMs, () => {
      read()
        .then(
          () => (lastError = undefined),
          (error: IdentityError) => {
            lastError = error;
            log.warn("certificate files are not usable; the last good pair stays in use", { error: error.message });
          },
        )
        .finally(() => {
          if (!closed) again();
        });
    });
  };
  return {
    get current() {
      return current;
    },
    get lastError() {
      return lastError;
    },
    start() {
      return (starting ??= read().then((identity) => {
        if (!closed) again();
        return identity;
      }));
    },
    onChange: (fn) => void listeners.push(fn),
    close() {
      closed = true;
      timer?.cancel();
    },
  };
}
