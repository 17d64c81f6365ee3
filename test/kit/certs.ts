import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/**
 * A certificate factory for tests: P-256, and any mistake a test wants to make. Writes the DER itself, so that it can also make
 * what no decent library would: two URI names, names with a NUL, a leaf that may sign.
 */
export interface TestCertificate {
  readonly certPem: string;
  readonly keyPem: string;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  readonly name: string;
}

export interface CertificateOptions {
  /** Who signs; absent: itself. */
  readonly issuer?: TestCertificate;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipv4?: readonly string[];
  /** May sign certificates. Default: without an issuer. */
  readonly ca?: boolean;
  /** Key usage bits of the first byte: 0x80 digitalSignature, 0x04 keyCertSign. `undefined` = by `ca`, `null` = none. */
  readonly keyUsage?: number | null;
  /** Wall-clock milliseconds. Default: from an hour ago, for a day. */
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  /** Certify this key instead of a new one. */
  readonly publicKey?: KeyObject;
}

export function makeCertificate(name: string, options: CertificateOptions = {}): TestCertificate {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKey = options.publicKey ?? pair.publicKey;
  const issuer = options.issuer;
  const ca = options.ca ?? issuer === undefined;
  const usage = options.keyUsage === undefined ? (ca ? 0x06 : 0x80) : options.keyUsage;
  const names = [
    ...(options.uris ?? []).map((uri) => der(0x86, Buffer.from(uri, "latin1"))),
    ...(options.dnsNames ?? []).map((dns) => der(0x82, Buffer.from(dns, "latin1"))),
    ...(options.ipv4 ?? []).map((ip) => der(0x87, Buffer.from(ip.split(".").map(Number)))),
  ];
  const extensions = [
    extension("551d13", ca ? seq(der(0x01, Buffer.from([0xff]))) : seq()),
    ...(usage === null ? [] : [extension("551d0f", der(0x03, Buffer.from([0x00, usage])))]),
    ...(ca ? [] : [extension("551d25", seq(oid("2b06010505070301"), oid("2b06010505070302")))]),
    ...(names.length === 0 ? [] : [extension("551d11", seq(...names))]),
  ];
  const body = seq(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([0x11]), randomBytes(15)])),
    ecdsa,
    distinguished(issuer?.name ?? name),
    seq(time(options.notBeforeMs ?? Date.now() - 3_600_000), time(options.notAfterMs ?? Date.now() + 86_400_000)),
    distinguished(name),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, seq(...extensions)),
  );
  const signature = sign("sha256", body, issuer?.key ?? pair.privateKey);
  const whole = seq(body, ecdsa, der(0x03, Buffer.from([0]), signature));
  return {
    certPem: pem(whole),
    keyPem: pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    key: pair.privateKey,
    publicKey: pair.publicKey,
    name,
  };
}

/** `spiffe://cluster.local/ns/<ns>/sa/<sa>`. */
export function spiffe(namespace: string, serviceAccount: string, trustDomain = "cluster.local"): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

const ecdsa = seq(oid("2a8648ce3d040302"));

function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

function seq(...contents: readonly Uint8Array[]): Buffer {
  return der(0x30, ...contents);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function extension(id: string, value: Uint8Array): Buffer {
  return seq(oid(id), der(0x04, value));
}

function distinguished(commonName: string): Buffer {
  return seq(der(0x31, seq(oid("550403"), der(0x0c, Buffer.from(commonName)))));
}

/** GeneralizedTime to the second; good enough for every year a test needs. */
function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return der(0x18, Buffer.from(`${text}Z`));
}

function pem(bytes: Uint8Array): string {
  const base64 = Buffer.from(bytes).toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}
