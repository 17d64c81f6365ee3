import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";

import { type AlternativeName, emptyName, keyIdOf, signCertificate } from "./certificate.ts";
import { CsrError, publicKeyOfCsr } from "./csr.ts";
import { derToPem, readDer } from "./der.ts";
import { extensionIds, readCertificate } from "./read-certificate.ts";

/** What the signing thread is started with. */
export interface SigningKey {
  readonly keyPem: string;
  readonly certificateDer: Uint8Array;
}

/** One certificate to sign. Who it is for was decided before: here is only the key, from a CSR or as it is. */
export interface SigningOrder {
  readonly key: { readonly csrPem: string } | { readonly spkiDer: Uint8Array };
  readonly names: readonly AlternativeName[];
  readonly notBefore: number;
  readonly notAfter: number;
}

export type SigningResult = { readonly pem: string } | { readonly refused: string };

/** Signs what it is given, by one authority. */
export function createSigner({ keyPem, certificateDer }: SigningKey): (order: SigningOrder) => SigningResult {
  const signingKey = createPrivateKey(keyPem);
  // Byte for byte as the authority's certificate has them: a leaf must repeat both exactly.
  const issuer = readCertificate(certificateDer);
  const keyId = issuer.extension(extensionIds.subjectKeyId);
  const authorityKeyId = keyId === undefined ? keyIdOf(createPublicKey(signingKey)) : readDer(keyId).value;
  return ({ key, names, notBefore, notAfter }) => {
    let publicKey: KeyObject;
    try {
      publicKey =
        "csrPem" in key
          ? publicKeyOfCsr(key.csrPem)
          : createPublicKey({ key: Buffer.from(key.spkiDer), format: "der", type: "spki" });
    } catch (error) {
      if (error instanceof CsrError) return { refused: error.message };
      throw error;
    }
    const leaf = signCertificate(
      {
        issuer: issuer.subject,
        subject: emptyName,
        notBefore,
        notAfter,
        publicKey,
        names,
        authority: false,
        authorityKeyId,
      },
      signingKey,
    );
    return { pem: derToPem(leaf, "CERTIFICATE") };
  };
}
