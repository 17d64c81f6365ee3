import { type KeyObject, createPublicKey, sign } from "node:crypto";
import { bitString, der, derToPem, integer, oid, sequence, tags } from "../../src/ca/der.ts";
import { distinguishedName } from "../../src/ca/certificate.ts";

interface CsrOptions {
  /** A SAN to ask for, as someone would who wants another's identity. */
  readonly uri?: string;
  /** The key in the request, if another than the one that signs it. */
  readonly claimedKey?: KeyObject;
  readonly hash?: "sha1" | "sha256";
}

/** A PKCS#10 request by this private key. */
export function makeCsr(privateKey: KeyObject, { uri, claimedKey, hash = "sha256" }: CsrOptions = {}): string {
  const publicKey = createPublicKey(claimedKey ?? privateKey);
  const attributes =
    uri === undefined
      ? []
      : [
          sequence(
            oid("1.2.840.113549.1.9.14"),
            der(
              tags.set,
              sequence(
                sequence(oid("2.5.29.17"), der(tags.octetString, sequence(der(0x86, Buffer.from(uri, "ascii"))))),
              ),
            ),
          ),
        ];
  const info = sequence(
    integer(Buffer.of(0)),
    distinguishedName("evil", "admin"),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa0, ...attributes),
  );
  const isRsa = privateKey.asymmetricKeyType === "rsa";
  const algorithm = isRsa
    ? sequence(oid("1.2.840.113549.1.1.11"), der(tags.null))
    : sequence(oid(hash === "sha1" ? "1.2.840.10045.4.1" : "1.2.840.10045.4.3.2"));
  return derToPem(sequence(info, algorithm, bitString(sign(hash, info, privateKey))), "CERTIFICATE REQUEST");
}
