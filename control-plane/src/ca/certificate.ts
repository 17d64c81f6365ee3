import { createHash, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";

import { type SignatureAlgorithm, signingAlgorithm } from "./algorithm.ts";
import { bitString, der, expectTag, integer, oid, parts, readDer, sequence, tags, time } from "./der.ts";

/** A name in the subject alternative name extension. */
export type AlternativeName =
  | { readonly kind: "uri"; readonly value: string }
  | { readonly kind: "dns"; readonly value: string }
  | { readonly kind: "ip"; readonly value: string };

export interface CertificateProfile {
  /** The issuer's name as it stands, encoded, in its certificate. */
  readonly issuer: Buffer;
  /** Encoded; the empty name for workloads, whose identity is the alternative name alone. */
  readonly subject: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: KeyObject;
  readonly names: readonly AlternativeName[];
  readonly authority: boolean;
  /** Of the issuer's key; `undefined` for a root, which is its own issuer. */
  readonly authorityKeyId: Buffer | undefined;
}

export const emptyName: Buffer = sequence();

/** `O=<organisation>, CN=<name>`. */
export function distinguishedName(organisation: string, commonName: string): Buffer {
  const attribute = (id: string, text: string): Buffer =>
    der(tags.set, sequence(oid(id), der(tags.utf8String, Buffer.from(text, "utf8"))));
  return sequence(attribute("2.5.4.10", organisation), attribute("2.5.4.3", commonName));
}

/** An X.509 version 3 certificate (RFC 5280), encoded. Its end is whole seconds, rounded down. */
export function signCertificate(profile: CertificateProfile, signingKey: KeyObject): Buffer {
  const algorithm = signingAlgorithm(signingKey);
  if (algorithm === undefined) throw new TypeError("the signing key is of a kind that cannot sign certificates");
  const tbs = sequence(
    der(0xa0, integer(Buffer.of(2))),
    integer(serialNumber()),
    algorithm.identifier,
    profile.issuer,
    sequence(time(profile.notBefore), time(profile.notAfter)),
    profile.subject,
    spkiOf(profile.publicKey),
    der(0xa3, sequence(...extensions(profile))),
  );
  return sequence(tbs, algorithm.identifier, bitString(signature(algorithm, tbs, signingKey)));
}

/** RFC 7093, method 1: the first 160 bits of the SHA-256 of the key's bits. */
export function keyIdOf(publicKey: KeyObject): Buffer {
  const [, bits] = parts(readDer(spkiOf(publicKey)));
  return createHash("sha256")
    .update(expectTag(bits, tags.bitString, "key").value.subarray(1))
    .digest()
    .subarray(0, 20);
}

function extensions(profile: CertificateProfile): Buffer[] {
  const { authority, names, publicKey, subject, authorityKeyId } = profile;
  const list = [
    extension("2.5.29.19", true, authority ? sequence(der(tags.boolean, Buffer.of(0xff))) : sequence()),
    keyUsage(authority, publicKey),
  ];
  if (!authority) {
    const serverAuth = oid("1.3.6.1.5.5.7.3.1");
    const clientAuth = oid("1.3.6.1.5.5.7.3.2");
    list.push(extension("2.5.29.37", false, sequence(serverAuth, clientAuth)));
  }
  list.push(extension("2.5.29.14", false, der(tags.octetString, keyIdOf(publicKey))));
  if (authorityKeyId !== undefined) list.push(extension("2.5.29.35", false, sequence(der(0x80, authorityKeyId))));
  // RFC 5280, 4.2.1.6: critical when the subject is empty, because then it is the whole identity.
  if (names.length > 0)
    list.push(extension("2.5.29.17", subject.equals(emptyName), sequence(...names.map(generalName))));
  return list;
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [der(tags.boolean, Buffer.of(0xff))] : [];
  return sequence(oid(id), ...flag, der(tags.octetString, value));
}

/** An elliptic key cannot encipher (RFC 8813, 3), so only RSA keys get that bit of I29. */
function keyUsage(authority: boolean, publicKey: KeyObject): Buffer {
  const [bits, unused] = authority ? [0x06, 1] : publicKey.asymmetricKeyType === "rsa" ? [0xa0, 5] : [0x80, 7];
  return extension("2.5.29.15", true, bitString(Buffer.of(bits), unused));
}

function generalName({ kind, value }: AlternativeName): Buffer {
  if (kind === "ip") return der(0x87, addressBytes(value));
  return der(kind === "uri" ? 0x86 : 0x82, Buffer.from(value, "ascii"));
}

function addressBytes(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split(".").map(Number));
  if (!isIPv6(text) || text.includes("%") || text.includes(".")) throw new TypeError(`not an address: ${text}`);
  const [head = "", tail] = text.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const before = groups(head);
  const after = groups(tail ?? "");
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => "0");
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join(""), "hex");
}

function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  // Positive and of full length, whatever chance says.
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}

function signature(algorithm: SignatureAlgorithm, tbs: Buffer, key: KeyObject): Buffer {
  return sign(algorithm.hash, tbs, key);
}

function spkiOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: "spki", format: "der" });
}
