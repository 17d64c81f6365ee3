import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

import { identityOf, type SpiffeId } from "./certificate.ts";
import { type Identity, IdentityError } from "./identity.ts";

/** Chains in the field have one to three intermediates. */
const maxDepth = 8;

/** Whose certificate it must be. */
export interface ExpectedIdentity {
  /** Absent: whatever the pair says, for a pair that its owner keeps in files. */
  readonly namespace?: string | undefined;
  readonly serviceAccount?: string | undefined;
  /** Known from the second certificate on. */
  readonly trustDomain?: string | undefined;
}

/** Every certificate block of a text, in order. */
export function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
}

/**
 * Checks what an authority sent before it is used (I28): our own key, our identity, valid by our clock, and a chain to a root that
 * this process was given. What else the authority sends along (its root, I27) is not trusted for that. Throws an IdentityError.
 */
export function checkIssued(
  key: KeyObject,
  answer: readonly string[],
  roots: readonly string[],
  expected: ExpectedIdentity,
  nowMs: number,
): Omit<Identity, "epoch"> {
  const [leaf, ...others] = answer.flatMap(pemBlocks).map(parse);
  if (leaf === undefined) throw invalid("the answer holds no certificate");
  if (!leaf.checkPrivateKey(key)) throw invalid("the certificate is for another key than ours");
  const id = identityOf(leaf);
  if (typeof id === "string") throw invalid(id);
  checkName(id, expected);
  checkDates("certificate", leaf, nowMs);
  const known = roots.map(parse);
  const intermediates = chainToRoot(leaf, others, known, nowMs);
  return {
    keyPem: key.export({ type: "pkcs8", format: "pem" }) as string,
    chainPem: [leaf, ...intermediates].map(String).join(""),
    rootsPem: known.map(String),
    spiffeId: id.uri,
    trustDomain: id.trustDomain,
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
  };
}

/** The same for a pair that was kept in files; a pair whose halves do not belong together is what a crash between two writes leaves. */
export function checkKept(
  keyPem: string,
  chainPem: string,
  roots: readonly string[],
  expected: ExpectedIdentity,
  nowMs: number,
): Omit<Identity, "epoch"> {
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch (thrown) {
    throw invalid("the kept key cannot be read", thrown);
  }
  return checkIssued(key, [chainPem], roots, expected, nowMs);
}

function checkName(id: SpiffeId, { namespace, serviceAccount, trustDomain }: ExpectedIdentity): void {
  if ((namespace ?? id.namespace) !== id.namespace || (serviceAccount ?? id.serviceAccount) !== id.serviceAccount)
    throw invalid(
      `the certificate is for ${id.uri}, not for service account ${serviceAccount} in namespace ${namespace}`,
    );
  if (trustDomain !== undefined && id.trustDomain !== trustDomain)
    throw invalid(`the certificate is for trust domain ${id.trustDomain}; so far we were of ${trustDomain}`);
}

function checkDates(what: string, certificate: X509Certificate, nowMs: number): void {
  const from = certificate.validFromDate.getTime();
  const to = certificate.validToDate.getTime();
  if (nowMs < from)
    throw new IdentityError(
      "CLOCK_SKEW",
      `the ${what} is not valid before ${certificate.validFromDate.toISOString()}, which is ${span(from - nowMs)} ahead of this machine's clock (${new Date(nowMs).toISOString()}); set the clock`,
    );
  if (nowMs >= to)
    throw new IdentityError(
      "CLOCK_SKEW",
      `the ${what} ended at ${certificate.validToDate.toISOString()}, ${span(nowMs - to)} before this machine's clock (${new Date(nowMs).toISOString()}); set the clock`,
    );
}

/** The intermediates between leaf and root, in order. */
function chainToRoot(
  leaf: X509Certificate,
  others: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  nowMs: number,
): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let current = leaf; ;) {
    if (roots.some((root) => issued(current, root, nowMs))) return chain;
    const next =
      chain.length < maxDepth
        ? others.find((other) => !chain.includes(other) && issued(current, other, nowMs))
        : undefined;
    if (next === undefined) {
      const outdated = [...roots, ...others].find((each) => signed(current, each));
      if (outdated !== undefined) checkDates(`certificate of its issuer ${oneLine(outdated.subject)}`, outdated, nowMs);
      throw invalid(
        `the certificate does not lead to a known root (issuer ${oneLine(current.issuer)}); is the root certificate of this process that of this control plane?`,
      );
    }
    chain.push(next);
    current = next;
  }
}

function issued(certificate: X509Certificate, issuer: X509Certificate, nowMs: number): boolean {
  return nowMs >= issuer.validFromDate.getTime() && nowMs < issuer.validToDate.getTime() && signed(certificate, issuer);
}

function signed(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function parse(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (thrown) {
    throw invalid("a certificate cannot be read", thrown);
  }
}

function invalid(message: string, cause?: unknown): IdentityError {
  return new IdentityError("CERTIFICATE_INVALID", message, cause);
}

/** Names come from outside: one line, and not too long (dataplane.md §23 rule 12). */
function oneLine(name: string): string {
  return JSON.stringify(name.replace(/\s+/g, ", ").slice(0, 200));
}

export function span(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
