import type { X509Certificate } from "node:crypto";

import { DerError, elements, only, tags } from "./der.ts";

/** What the SPIFFE rules look at in a certificate (X.509-SVID §2–5), read from its bytes. */
export interface CertificateFacts {
  /** Every URI SAN, in order. */
  readonly uris: readonly string[];
  /** Names of other kinds that may be checked against a policy. */
  readonly dnsNames: readonly string[];
  /** Basic constraints say that it may sign certificates. */
  readonly isCa: boolean;
  /** `undefined`: the extension is absent. */
  readonly digitalSignature: boolean | undefined;
  /** keyCertSign or cRLSign: never in a leaf. */
  readonly signsCertificates: boolean;
}

export interface SpiffeId {
  readonly uri: string;
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const basicConstraints = "551d13";
const keyUsage = "551d0f";
const subjectAltName = "551d11";
const uriName = 0x86;
const dnsName = 0x82;

/** Throws a {@link DerError} for what is not a certificate. */
export function certificateFacts(der: Uint8Array): CertificateFacts {
  const [tbs] = elements(only(der, tags.sequence));
  if (tbs === undefined || tbs.tag !== tags.sequence) throw new DerError("no certificate body");
  const uris: string[] = [];
  const dnsNames: string[] = [];
  let isCa = false;
  let digitalSignature: boolean | undefined;
  let signsCertificates = false;
  const seen = new Set<string>();
  const block = elements(tbs.content).find((element) => element.tag === tags.context3);
  for (const extension of block === undefined ? [] : elements(only(block.content, tags.sequence))) {
    const parts = elements(extension.content);
    const id = parts[0];
    const value = parts.at(-1);
    if (id?.tag !== tags.objectId || value?.tag !== tags.octetString) throw new DerError("a malformed extension");
    const oid = Buffer.from(id.content).toString("hex");
    // RFC 5280 §4.2: no extension twice. Whoever reads the first and whoever reads the last would see two certificates.
    if (seen.has(oid)) throw new DerError("an extension that comes twice");
    seen.add(oid);
    if (oid === subjectAltName) {
      for (const name of elements(only(value.content, tags.sequence))) {
        if (name.tag === uriName) uris.push(ascii(name.content));
        else if (name.tag === dnsName) dnsNames.push(ascii(name.content));
      }
    } else if (oid === basicConstraints) {
      const [ca] = elements(only(value.content, tags.sequence));
      isCa = ca?.tag === tags.boolean && ca.content[0] !== 0;
    } else if (oid === keyUsage) {
      const bits = only(value.content, tags.bitString);
      digitalSignature = ((bits[1] ?? 0) & 0x80) !== 0;
      signsCertificates = ((bits[1] ?? 0) & 0x06) !== 0;
    }
  }
  return { uris, dnsNames, isCa, digitalSignature, signsCertificates };
}

/** IA5String; a NUL or a byte outside ASCII is how names are cut short or disguised. */
function ascii(bytes: Uint8Array): string {
  for (const byte of bytes)
    if (byte < 0x20 || byte > 0x7e) throw new DerError("a name with a byte outside printable ASCII");
  return Buffer.from(bytes).toString("latin1");
}

const trustDomainForm = /^[a-z0-9._-]{1,255}$/;
const segmentForm = /^[a-zA-Z0-9._-]+$/;

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, Istio's form (I8); `undefined` for any other text. */
export function parseSpiffeId(uri: string): SpiffeId | undefined {
  if (uri.length > 2048 || !uri.startsWith("spiffe://")) return undefined;
  const [trustDomain = "", ns, namespace = "", sa, serviceAccount = "", ...more] = uri
    .slice("spiffe://".length)
    .split("/");
  if (!trustDomainForm.test(trustDomain) || ns !== "ns" || sa !== "sa" || more.length > 0) return undefined;
  if (!isSegment(namespace) || !isSegment(serviceAccount)) return undefined;
  return { uri, trustDomain, namespace, serviceAccount };
}

function isSegment(text: string): boolean {
  return segmentForm.test(text) && text !== "." && text !== "..";
}

/**
 * The identity in a peer's leaf certificate, whose chain is verified already: exactly one URI SAN in SPIFFE form, no
 * CA, and a key that may sign (dataplane.md §23 rule 8). Otherwise the reason as text.
 */
export function identityOf(certificate: X509Certificate): SpiffeId | string {
  let facts: CertificateFacts;
  try {
    facts = certificateFacts(certificate.raw);
  } catch (thrown) {
    return `its certificate cannot be read: ${(thrown as Error).message}`;
  }
  if (facts.uris.length !== 1) return `its certificate has ${facts.uris.length} URI names instead of one`;
  const id = parseSpiffeId(facts.uris[0]!);
  if (id === undefined)
    return `its name ${JSON.stringify(facts.uris[0]!.slice(0, 200))} is not a SPIFFE id of a service account`;
  if (facts.isCa || facts.signsCertificates) return "its certificate is one that signs certificates";
  if (facts.digitalSignature === false) return "its key may not sign";
  return id;
}
