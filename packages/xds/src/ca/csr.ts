import { generateKeyPair, type KeyObject, sign } from "node:crypto";
import { promisify } from "node:util";

import { encode, tags } from "./der.ts";

/** A new key, and the request to certify it. */
export interface SigningRequest {
  readonly key: KeyObject;
  readonly keyPem: string;
  readonly csrPem: string;
}

const generate = promisify(generateKeyPair);

/** ecdsa-with-SHA256 (RFC 5758 §3.2). */
const ecdsaWithSha256 = Uint8Array.from([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);

/**
 * A P-256 key that never leaves this process, and a PKCS#10 request for it (RFC 2986): version, an empty subject, the public key, no
 * attributes, signed. It names nobody, for the server stamps the identity that the caller has proved (I28). Key and signature are Node's
 * (OpenSSL's); what is written here is only the frame around them: @peculiar/x509 would cost each process that joins
 * 60 ms and 20 MB for these five fields.
 */
export async function createSigningRequest(): Promise<SigningRequest> {
  const { privateKey, publicKey } = await generate("ec", { namedCurve: "P-256" });
  const info = encode(
    tags.sequence,
    encode(tags.integer, Uint8Array.of(0)),
    encode(tags.sequence),
    publicKey.export({ type: "spki", format: "der" }),
    encode(tags.context0),
  );
  const signature = sign("sha256", info, privateKey);
  const request = encode(
    tags.sequence,
    info,
    encode(tags.sequence, ecdsaWithSha256),
    // No unused bits, then the signature.
    encode(tags.bitString, Uint8Array.of(0), signature),
  );
  const base64 = Buffer.from(request).toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return {
    key: privateKey,
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    csrPem: `-----BEGIN CERTIFICATE REQUEST-----\n${base64}\n-----END CERTIFICATE REQUEST-----\n`,
  };
}
