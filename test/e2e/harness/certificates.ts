import type { webcrypto } from "node:crypto";
import type * as X509 from "@peculiar/x509";

/** The library's container asks for the reflection polyfill when it loads, and reads no metadata of the classes used here. */
const reflect = Reflect as { getMetadata?: () => unknown; getOwnMetadata?: () => unknown; defineMetadata?: () => void };
reflect.getMetadata ??= () => undefined;
reflect.getOwnMetadata ??= () => undefined;
reflect.defineMetadata ??= () => {};
const x509 = await import("@peculiar/x509");

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export interface Credentials {
  readonly key: string;
  readonly cert: string;
}

/**
 * A certificate that looks exactly like one of the mesh (SPIFFE id, usages, dates) but is signed by a root of its own.
 * What gives it away is only who signed it.
 */
export async function foreignIdentity(spiffeId: string): Promise<Credentials> {
  const root = await generateKeys();
  const rootCertificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "O=cluster.local",
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys: root,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const leaf = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "02",
    subject: "",
    issuer: rootCertificate.subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingKey: root.privateKey,
    publicKey: leaf.publicKey,
    signingAlgorithm: algorithm,
    extensions: leafExtensions(spiffeId),
  });
  return { key: await pem(leaf), cert: `${certificate.toString("pem")}\n${rootCertificate.toString("pem")}` };
}

/** The same claim, vouched for by nobody. */
export async function selfSignedIdentity(spiffeId: string): Promise<Credentials> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "03",
    name: "CN=outsider",
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys,
    signingAlgorithm: algorithm,
    extensions: leafExtensions(spiffeId),
  });
  return { key: await pem(keys), cert: certificate.toString("pem") };
}

function leafExtensions(spiffeId: string): X509.Extension[] {
  return [
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth]),
    new x509.SubjectAlternativeNameExtension([{ type: "url", value: spiffeId }], true),
  ];
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]) as Promise<webcrypto.CryptoKeyPair>;
}

async function pem({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", privateKey));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString("base64").replace(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`;
}
