import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { join } from "node:path";

import { createDirOnce, makePrivateDir, readIfPresent } from "../data-dir.ts";
import { ControlPlaneError } from "../errors.ts";
import { isAcceptableKey } from "./algorithm.ts";
import { distinguishedName, signCertificate } from "./certificate.ts";
import { derToPem } from "./der.ts";

/** A certificate authority that may sign: checked once, when it is loaded, and trusted afterwards. */
export interface Authority {
  /** PEM of the signing key. It goes to the signing thread and nowhere else (S35). */
  readonly signerKeyPem: string;
  readonly signer: X509Certificate;
  /** The signing certificate and those above it, without the root: what a leaf needs in a handshake. */
  readonly intermediates: readonly X509Certificate[];
  /** PEM of the root, or of several during a change of root. */
  readonly rootsPem: string;
  readonly roots: readonly X509Certificate[];
  readonly rootCertFile: string;
  /** Within these times every certificate from the signer to its root is valid. */
  readonly notBefore: number;
  readonly notAfter: number;
}

const files = { signer: "ca-cert.pem", key: "ca-key.pem", root: "root-cert.pem", chain: "cert-chain.pem" } as const;
const TEN_YEARS_MS = 10 * 365 * 86_400_000;

/** By how much a certificate begins in the past, for clocks that lag (I29). */
export const BACKDATE_MS = 120_000;

/** Loads the authority of the folder; makes a self-signed one if the folder does not exist and `create` names it. */
export function loadAuthority(dir: string, now: number, create: { trustDomain: string } | undefined): Authority {
  if (create !== undefined && allMissing(dir)) {
    makePrivateDir(join(dir, ".."));
    createDirOnce(dir, selfSigned(create.trustDomain, now));
  }
  const read = (name: string): string => {
    const text = readIfPresent(join(dir, name));
    if (text === undefined)
      throw invalid(dir, name, "is missing; all of ca-cert.pem, ca-key.pem and root-cert.pem are needed");
    return text;
  };
  const [signer, ...more] = certificates(dir, files.signer, read(files.signer));
  if (signer === undefined || more.length > 0) throw invalid(dir, files.signer, "must hold exactly one certificate");
  const signerKeyPem = read(files.key);
  checkKey(dir, signer, privateKey(dir, signerKeyPem));
  const rootsPem = read(files.root);
  const roots = certificates(dir, files.root, rootsPem);
  const chainPem = readIfPresent(join(dir, files.chain));
  const above = chainPem === undefined ? [] : certificates(dir, files.chain, chainPem);
  const path = pathToRoot(dir, signer, above, roots);
  const notBefore = Math.max(...path.map((certificate) => certificate.validFromDate.getTime()));
  const notAfter = Math.min(...path.map((certificate) => certificate.validToDate.getTime()));
  checkTimes(dir, notBefore, notAfter, now);
  return {
    signerKeyPem,
    signer,
    intermediates: path.filter((certificate) => !roots.some((root) => root.raw.equals(certificate.raw))),
    rootsPem: roots.map(String).join(""),
    roots,
    rootCertFile: join(dir, files.root),
    notBefore,
    notAfter,
  };
}

function allMissing(dir: string): boolean {
  return [files.signer, files.key, files.root].every((name) => readIfPresent(join(dir, name)) === undefined);
}

function selfSigned(trustDomain: string, now: number): Record<string, string> {
  const { publicKey, privateKey: key } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = distinguishedName(trustDomain, "Trama root");
  const notBefore = now - BACKDATE_MS;
  const certificate = derToPem(
    signCertificate(
      {
        issuer: name,
        subject: name,
        notBefore,
        notAfter: notBefore + TEN_YEARS_MS,
        publicKey,
        names: [],
        authority: true,
        authorityKeyId: undefined,
      },
      key,
    ),
    "CERTIFICATE",
  );
  const keyPem = key.export({ type: "pkcs8", format: "pem" }).toString();
  return { [files.key]: keyPem, [files.signer]: certificate, [files.root]: certificate };
}

function certificates(dir: string, name: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw invalid(dir, name, "holds no PEM block CERTIFICATE");
  return blocks.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw invalid(dir, name, "holds a certificate that cannot be read", error);
    }
  });
}

function privateKey(dir: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw invalid(dir, files.key, "is no private key in PEM without a password", error);
  }
}

function checkKey(dir: string, signer: X509Certificate, key: KeyObject): void {
  if (!isAcceptableKey(key))
    throw invalid(dir, files.key, "is none of ECDSA P-256, ECDSA P-384 and RSA of 2048 to 8192 bits");
  if (!signer.checkPrivateKey(key)) throw invalid(dir, files.key, `is not the key of ${files.signer}`);
  if (!signer.ca) throw invalid(dir, files.signer, "may not sign others (basic constraints CA)");
}

/** From the signer to a root, each signed by the next; an entry of cert-chain.pem that is not needed is passed over. */
function pathToRoot(
  dir: string,
  signer: X509Certificate,
  above: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): X509Certificate[] {
  const path = [signer];
  for (let last = signer; ;) {
    if (roots.some((root) => root.raw.equals(last.raw))) return path;
    const next = [...roots, ...above].find((each) => !path.includes(each) && each.ca && issued(each, last));
    if (next === undefined)
      throw invalid(dir, files.chain, `does not lead from ${files.signer} to a certificate of ${files.root}`);
    path.push(next);
    last = next;
  }
}

function issued(issuer: X509Certificate, subject: X509Certificate): boolean {
  return subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function checkTimes(dir: string, notBefore: number, notAfter: number, now: number): void {
  if (now >= notBefore && now < notAfter) return;
  const [word, at] = now < notBefore ? ["not valid before", notBefore] : ["expired at", notAfter];
  throw new ControlPlaneError(
    "CA_EXPIRED",
    `the certificate authority in ${dir} is ${word} ${new Date(at).toISOString()}, and this machine's clock says ` +
      `${new Date(now).toISOString()}; set the clock, or put a new authority in its place`,
  );
}

function invalid(dir: string, name: string, what: string, cause?: unknown): ControlPlaneError {
  return new ControlPlaneError(
    "CA_INVALID",
    `${join(dir, name)} ${what}; mend it, or remove ${dir} to have a new root made`,
    cause,
  );
}
