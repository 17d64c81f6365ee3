import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { join } from "node:path";

import { createFileOnce, makePrivateDir, readIfPresent } from "../data-dir.ts";
import { ControlPlaneError } from "../errors.ts";

export interface TokenKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** The key by which join tokens are signed: in the data directory, for its owner alone, made at the first start. */
export function loadTokenKey(dataDir: string): TokenKey {
  makePrivateDir(dataDir);
  const path = join(dataDir, "token-key.pem");
  let pem = readIfPresent(path);
  if (pem === undefined) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    createFileOnce(path, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
    // Read back: another process may have been first, and then its key is the one.
    pem = readIfPresent(path) ?? "";
  }
  try {
    const privateKey = createPrivateKey(pem);
    if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new TypeError("not a P-256 key");
    return { privateKey, publicKey: createPublicKey(privateKey) };
  } catch (error) {
    throw new ControlPlaneError(
      "TOKEN_KEY_INVALID",
      `${path} is not a P-256 private key in PEM; put it back from a copy, or remove it to have a new one made ` +
        "(tokens that were issued before end then)",
      error,
    );
  }
}
