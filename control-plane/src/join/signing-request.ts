import { generateKeyPairSync, sign } from "node:crypto";

import { bitString, der, derToPem, integer, oid, sequence } from "../ca/der.ts";
import { emptyName } from "../ca/certificate.ts";

export interface SigningRequest {
  /** PKCS#8. It is written to the node's own folder and never sent. */
  readonly keyPem: string;
  readonly csrPem: string;
}

/** A new P-256 key and a PKCS#10 request by it. It asks for no name: the authority stamps the caller's identity (I28). */
export function signingRequest(): SigningRequest {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const info = sequence(
    integer(Buffer.of(0)),
    emptyName,
    publicKey.export({ type: "spki", format: "der" }),
    // No attributes, as an empty set with the context's tag.
    der(0xa0),
  );
  const ecdsaWithSha256 = sequence(oid("1.2.840.10045.4.3.2"));
  return {
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    csrPem: derToPem(
      sequence(info, ecdsaWithSha256, bitString(sign("sha256", info, privateKey))),
      "CERTIFICATE REQUEST",
    ),
  };
}
