import type { KeyObject } from "node:crypto";

import { der, oid, sequence, tags } from "./der.ts";

/** A signature algorithm of X.509, with the hash that node:crypto wants. */
export interface SignatureAlgorithm {
  readonly hash: "sha256" | "sha384" | "sha512";
  readonly keyType: "ec" | "rsa";
  /** The AlgorithmIdentifier, encoded. */
  readonly identifier: Buffer;
}

// RFC 5758: no parameters for ECDSA; RFC 4055: NULL for RSA. SHA-1 is missing on purpose.
const ecdsa = (hash: SignatureAlgorithm["hash"], id: string): SignatureAlgorithm => ({
  hash,
  keyType: "ec",
  identifier: sequence(oid(id)),
});
const rsa = (hash: SignatureAlgorithm["hash"], id: string): SignatureAlgorithm => ({
  hash,
  keyType: "rsa",
  identifier: sequence(oid(id), der(tags.null)),
});

const ecdsaSha256 = ecdsa("sha256", "1.2.840.10045.4.3.2");
const ecdsaSha384 = ecdsa("sha384", "1.2.840.10045.4.3.3");
const rsaSha256 = rsa("sha256", "1.2.840.113549.1.1.11");
const known = [
  ecdsaSha256,
  ecdsaSha384,
  ecdsa("sha512", "1.2.840.10045.4.3.4"),
  rsaSha256,
  rsa("sha384", "1.2.840.113549.1.1.12"),
  rsa("sha512", "1.2.840.113549.1.1.13"),
];

export function algorithmOf(identifier: Buffer): SignatureAlgorithm | undefined {
  return known.find((algorithm) => algorithm.identifier.equals(identifier));
}

/** What a certificate authority with this key signs by. */
export function signingAlgorithm(key: KeyObject): SignatureAlgorithm | undefined {
  if (!isAcceptableKey(key)) return undefined;
  if (key.asymmetricKeyType === "rsa") return rsaSha256;
  return key.asymmetricKeyDetails?.namedCurve === "secp384r1" ? ecdsaSha384 : ecdsaSha256;
}

/** I29: ECDSA P-256 or P-384, or RSA from 2048 bits; the upper bound keeps one request from costing seconds. */
export function isAcceptableKey(key: KeyObject): boolean {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === "ec")
    return details?.namedCurve === "prime256v1" || details?.namedCurve === "secp384r1";
  const bits = details?.modulusLength ?? 0;
  return key.asymmetricKeyType === "rsa" && bits >= 2_048 && bits <= 8_192;
}
