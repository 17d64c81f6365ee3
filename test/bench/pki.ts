import type { webcrypto } from "node:crypto";
import type * as X509 from "@peculiar/x509";

/**
 * The certificates of a benchmark: one P-256 root, given to the control plane as its own, so that what the harness issues to its
 * plain processes and what the control plane issues to the mesh verify each other. Both sides of every pair then do the very same TLS.
 */
export interface Pki {
  readonly rootPem: string;
  readonly rootKeyPem: string;
  /** A leaf with the SPIFFE id of a service account of the namespace `bench`, as the control plane would issue it. */
  issue(serviceAccount: string): Promise<Leaf>;
}

export interface Leaf {
  readonly certPem: string;
  readonly keyPem: string;
  readonly spiffeId: string;
}

export const trustDomain = "cluster.local";
export const namespace = "bench";

export function spiffeIdOf(serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/** The library's container asks for the reflection polyfill when it loads, and reads no metadata of the classes used here. */
async function loadX509(): Promise<typeof X509> {
  const reflect = Reflect as {
    getMetadata?: () => unknown;
    getOwnMetadata?: () => unknown;
    defineMetadata?: () => void;
  };
  reflect.getMetadata ??= () => undefined;
  reflect.getOwnMetadata ??= () => undefined;
  reflect.defineMetadata ??= () => {};
  return await import("@peculiar/x509");
}

const algorithm: webcrypto.EcKeyGenParams & webcrypto.EcdsaParams = {
  name: "ECDSA",
  namedCurve: "P-256",
  hash: "SHA-256",
};
const dayMs = 86_400_000;

export async function createPki(): Promise<Pki> {
  const x509 = await loadX509();
  const rootKeys = await generate();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "O=cluster.local",
    ...validity(10),
    signingAlgorithm: algorithm,
    keys: rootKeys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(rootKeys.publicKey),
    ],
  });
  let serial = 1;
  return {
    rootPem: pem(root),
    rootKeyPem: await keyPem(rootKeys.privateKey),
    async issue(serviceAccount) {
      const keys = await generate();
      const spiffeId = spiffeIdOf(serviceAccount);
      const leaf = await x509.X509CertificateGenerator.create({
        serialNumber: (++serial).toString(16).padStart(4, "0"),
        issuer: root.subject,
        subject: "",
        ...validity(1),
        signingAlgorithm: algorithm,
        publicKey: keys.publicKey,
        signingKey: rootKeys.privateKey,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
          new x509.SubjectAlternativeNameExtension([{ type: "url", value: spiffeId }], true),
          await x509.AuthorityKeyIdentifierExtension.create(rootKeys.publicKey),
        ],
      });
      return { certPem: pem(leaf), keyPem: await keyPem(keys.privateKey), spiffeId };
    },
  };
}

async function generate(): Promise<webcrypto.CryptoKeyPair> {
  return (await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}

/** From an hour ago, so that no clock in the room makes the certificates too young. */
function validity(days: number): { notBefore: Date; notAfter: Date } {
  const nowMs = Date.now();
  return { notBefore: new Date(nowMs - 3_600_000), notAfter: new Date(nowMs + days * dayMs) };
}

function pem(certificate: X509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${der.replace(/.{64}/g, "$&\n").trimEnd()}\n-----END PRIVATE KEY-----\n`;
}
