import { createPublicKey, type KeyObject, verify } from "node:crypto";

import { algorithmOf, isAcceptableKey } from "./algorithm.ts";
import { DerError, expectTag, parts, pemToDer, readDer, tags } from "./der.ts";

/** Why a signing request is refused; the message goes to the client. */
export class CsrError extends Error {
  override readonly name = "CsrError";
}

/** A P-384 request is 500 bytes, one with an RSA key of 8192 bits 3 KB. */
export const maxCsrLength = 16_384;

/**
 * The public key of a PKCS#10 request (RFC 2986), once the request is proved to be signed by its holder. Nothing else is
 * read: neither subject nor names asked for mean anything, because the identity comes from the caller's authentication (I28).
 */
export function publicKeyOfCsr(pem: string): KeyObject {
  if (pem.length > maxCsrLength) throw new CsrError(`the CSR is longer than ${maxCsrLength} characters`);
  const bytes = pemToDer(pem, "CERTIFICATE REQUEST") ?? pemToDer(pem, "NEW CERTIFICATE REQUEST");
  if (bytes === undefined) throw new CsrError("the CSR is not one PEM block CERTIFICATE REQUEST");
  try {
    const [info, identifier, signature, ...more] = parts(expectTag(readDer(bytes), tags.sequence, "request"));
    const bits = expectTag(signature, tags.bitString, "signature").value;
    const [version, , spki] = parts(expectTag(info, tags.sequence, "request info"));
    if (more.length > 0 || bits[0] !== 0 || expectTag(version, tags.integer, "version").value.toString("hex") !== "00")
      throw new DerError("not a request of version 1");
    const key = createPublicKey({
      key: expectTag(spki, tags.sequence, "public key").raw,
      format: "der",
      type: "spki",
    });
    if (!isAcceptableKey(key))
      throw new CsrError("the key of the CSR is none of ECDSA P-256, ECDSA P-384 and RSA of 2048 to 8192 bits");
    const algorithm = algorithmOf(expectTag(identifier, tags.sequence, "signature algorithm").raw);
    if (algorithm === undefined || algorithm.keyType !== key.asymmetricKeyType)
      throw new CsrError("the CSR is not signed by ECDSA or RSA (PKCS#1 v1.5) with SHA-256, SHA-384 or SHA-512");
    if (!verify(algorithm.hash, expectTag(info, tags.sequence, "request info").raw, key, bits.subarray(1)))
      throw new CsrError("the signature of the CSR is not by the key in it");
    return key;
  } catch (error) {
    if (error instanceof CsrError) throw error;
    throw new CsrError(`the CSR cannot be read: ${error instanceof DerError ? error.message : "bad public key"}`);
  }
}
