import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";

import { makeCsr } from "../../test/kit/csr.ts";
import { tempDir } from "../../test/kit/temp-dir.ts";
import type { Identity } from "../auth/identity.ts";
import { type Authority, loadAuthority } from "./authority.ts";
import { type CertificateAuthority, certificateAuthority } from "./certificate-authority.ts";
import { distinguishedName, signCertificate } from "./certificate.ts";
import { derToPem } from "./der.ts";
import { readCertificate, uriNames } from "./read-certificate.ts";

const trustDomain = "cluster.local";
const day = 86_400;
const alice: Identity = {
  trustDomain,
  namespace: "shop",
  serviceAccount: "alice",
  proof: "token",
  expiresAt: Date.now() + 1_000_000,
};
const p256 = () => generateKeyPairSync("ec", { namedCurve: "P-256" });

function authorityIn(dir: string, now = Date.now()): Authority {
  return loadAuthority(join(dir, "ca"), now, { trustDomain });
}

function openCa(authority: Authority, now: () => number = Date.now): CertificateAuthority {
  const ca = certificateAuthority(authority, { defaultSeconds: day, maxSeconds: 90 * day }, now);
  onTestFinished(() => ca.close());
  return ca;
}

describe("a workload's certificate", () => {
  test("I28: carries the caller's identity, not the one that the CSR asks for", async () => {
    const ca = openCa(authorityIn(tempDir()));
    const { privateKey, publicKey } = p256();
    const csr = makeCsr(privateKey, { uri: "spiffe://cluster.local/ns/shop/sa/admin" });
    const [leafPem = "", rootPem = ""] = await ca.issueWorkload(alice, csr, 0);
    const leaf = new X509Certificate(leafPem);
    const root = new X509Certificate(rootPem);
    expect(uriNames(readCertificate(leaf.raw))).toEqual(["spiffe://cluster.local/ns/shop/sa/alice"]);
    expect(leaf.subject).toBeFalsy();
    expect(leaf.ca).toBe(false);
    expect(leaf.publicKey.equals(publicKey)).toBe(true);
    expect(leaf.checkIssued(root) && leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  });

  test("I27: the chain is leaf first, intermediates, root last", async () => {
    const { dir, root } = intermediateFiles();
    const ca = openCa(loadAuthority(dir, Date.now(), undefined));
    const chain = await ca.issueWorkload(alice, makeCsr(p256().privateKey), 0);
    const [leaf, intermediate, last] = chain.map((pem) => new X509Certificate(pem));
    expect(chain).toHaveLength(3);
    expect(leaf?.verify(intermediate!.publicKey)).toBe(true);
    expect(last?.raw.equals(root.raw)).toBe(true);
  });

  test.each([
    [0, day],
    [3_600, 3_600],
    [90 * day, 90 * day],
  ])("I29: a life of %i s asked is %i s granted, begun two minutes ago", async (asked, granted) => {
    const now = Date.parse("2030-01-01T00:00:00Z");
    const authority = authorityIn(tempDir(), now - 10 * day * 1_000);
    const ca = openCa(authority, () => now);
    const [leafPem = ""] = await ca.issueWorkload(alice, makeCsr(p256().privateKey), asked);
    const leaf = new X509Certificate(leafPem);
    expect(leaf.validToDate.getTime() - now).toBe(granted * 1_000);
    expect(now - leaf.validFromDate.getTime()).toBe(120_000);
  });

  test.each([-1, 9, 90 * day + 1, Number.NaN])("I29: a life of %d s is refused", async (asked) => {
    const ca = openCa(authorityIn(tempDir()));
    await expect(ca.issueWorkload(alice, makeCsr(p256().privateKey), asked)).rejects.toMatchObject({
      reason: "refused",
    });
  });

  test("I29: is cut to the signer's end, and does not begin before it", async () => {
    const start = Date.parse("2030-01-01T00:00:00Z");
    const authority = authorityIn(tempDir(), start);
    let now = start;
    const ca = openCa(authority, () => now);
    const first = new X509Certificate((await ca.issueWorkload(alice, makeCsr(p256().privateKey), 0))[0] ?? "");
    expect(first.validFromDate.getTime()).toBe(authority.notBefore);
    now = authority.notAfter - 60_000;
    const last = new X509Certificate((await ca.issueWorkload(alice, makeCsr(p256().privateKey), 0))[0] ?? "");
    expect(last.validToDate.getTime()).toBe(authority.notAfter);
    now = authority.notAfter;
    await expect(ca.issueWorkload(alice, makeCsr(p256().privateKey), 0)).rejects.toThrow(/authority expired/);
  });

  test("RSA of 2048 bits and P-384 keys are taken, and only RSA may encipher", async () => {
    const ca = openCa(authorityIn(tempDir()));
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey;
    const [rsaLeaf = ""] = await ca.issueWorkload(alice, makeCsr(rsa), 0);
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
    const [ecLeaf = ""] = await ca.issueWorkload(alice, makeCsr(p384), 0);
    const usage = (pem: string) => readCertificate(new X509Certificate(pem).raw).extension("551d0f")?.toString("hex");
    expect(usage(rsaLeaf)).toBe("030205a0");
    expect(usage(ecLeaf)).toBe("03020780");
  });

  test("300 certificates a second and more, off this thread", async () => {
    const ca = openCa(authorityIn(tempDir()));
    const csr = makeCsr(p256().privateKey);
    const chains = await Promise.all(Array.from({ length: 300 }, () => ca.issueWorkload(alice, csr, 0)));
    expect(new Set(chains.map(([leaf]) => new X509Certificate(leaf ?? "").serialNumber)).size).toBe(300);
  });

  test("too many at once are told to come back", async () => {
    const ca = openCa(authorityIn(tempDir()));
    const csr = makeCsr(p256().privateKey);
    const all = await Promise.allSettled(Array.from({ length: 1_100 }, () => ca.issueWorkload(alice, csr, 0)));
    const refused = all.filter((each) => each.status === "rejected");
    expect(refused).toHaveLength(100);
    expect(refused[0]?.reason).toMatchObject({ reason: "busy" });
  });
});

describe("a CSR is refused", () => {
  const weak = generateKeyPairSync("rsa", { modulusLength: 1_024 }).privateKey;
  const key = p256().privateKey;
  const good = makeCsr(key);
  test.each([
    ["that is no PEM", "hello", /not one PEM block/],
    ["of two blocks", good + good, /not one PEM block/],
    ["that is too long", good + " ".repeat(20_000), /longer than/],
    ["that is cut short", derToPem(Buffer.from("30820100", "hex"), "CERTIFICATE REQUEST"), /ends too early/],
    ["signed by another key", makeCsr(key, { claimedKey: p256().privateKey }), /not by the key in it/],
    ["signed with SHA-1", makeCsr(key, { hash: "sha1" }), /SHA-256/],
    ["with a short RSA key", makeCsr(weak), /RSA of 2048/],
    ["with another curve", makeCsr(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey), /P-256/],
    ["with an Ed25519 key", edwardsCsr(), /none of ECDSA/],
  ])("%s", async (_what, csr, message) => {
    const ca = openCa(authorityIn(tempDir()));
    const issued = ca.issueWorkload(alice, csr, 0);
    await expect(issued).rejects.toThrow(message);
    await expect(issued).rejects.toMatchObject({ reason: "refused" });
  });
});

describe("the files of the authority", () => {
  test("are made once, private, and found again", () => {
    const dir = tempDir();
    const made = authorityIn(dir);
    const found = authorityIn(dir);
    expect(found.rootsPem).toBe(made.rootsPem);
    expect(made.signer.ca).toBe(true);
    expect(made.signer.subject).toBe("O=cluster.local\nCN=Trama root");
    expect(made.notAfter - made.notBefore).toBe(10 * 365 * day * 1_000);
    expect(statSync(join(dir, "ca", "ca-key.pem")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "ca")).mode & 0o777).toBe(0o700);
    expect(readdirSync(dir)).toEqual(["ca"]);
  });

  test("a key of another certificate is one clear error, and nothing is overwritten", () => {
    const dir = tempDir();
    authorityIn(dir);
    const path = join(dir, "ca", "ca-key.pem");
    const other = p256().privateKey.export({ type: "pkcs8", format: "pem" });
    writeFileSync(path, other);
    expect(() => authorityIn(dir)).toThrow(expect.objectContaining({ code: "CA_INVALID" }));
    expect(readFileSync(path, "utf8")).toBe(other);
  });

  test.each([
    ["ca-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", /no private key/],
    ["ca-cert.pem", "rubbish", /no PEM block/],
    ["root-cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", /cannot be read/],
  ])("%s that is not what it must be is told by name", (name, text, message) => {
    const dir = tempDir();
    authorityIn(dir);
    writeFileSync(join(dir, "ca", name), text);
    expect(() => authorityIn(dir)).toThrow(message);
  });

  test("a missing file among others is told, not replaced", () => {
    const dir = tempDir();
    authorityIn(dir);
    rmSync(join(dir, "ca", "ca-key.pem"));
    expect(() => authorityIn(dir)).toThrow(/ca-key.pem is missing/);
    expect(existsSync(join(dir, "ca", "ca-key.pem"))).toBe(false);
  });

  test("an intermediate that does not lead to the root is told", () => {
    const { dir } = intermediateFiles();
    const other = tempDir();
    writeFileSync(join(dir, "root-cert.pem"), authorityIn(other).rootsPem);
    expect(() => loadAuthority(dir, Date.now(), undefined)).toThrow(/does not lead/);
  });

  test("a clock before the beginning or after the end is told", () => {
    const dir = tempDir();
    const { notBefore, notAfter } = authorityIn(dir);
    expect(() => authorityIn(dir, notBefore - 3_600_000)).toThrow(expect.objectContaining({ code: "CA_EXPIRED" }));
    expect(() => authorityIn(dir, notAfter)).toThrow(/expired at/);
  });

  test("a data directory that cannot be made is told with its code", () => {
    const dir = tempDir();
    writeFileSync(join(dir, "file"), "");
    expect(() => authorityIn(join(dir, "file"))).toThrow(expect.objectContaining({ code: "DATA_DIR" }));
  });
});

/** A root outside, and an intermediate of it that signs: the files of Istio's `cacerts`. */
function intermediateFiles(): { dir: string; root: X509Certificate } {
  const dir = tempDir();
  const rootKeys = p256();
  const keys = p256();
  const rootName = distinguishedName("corp", "root");
  const times = { notBefore: Date.now() - 1_000_000, notAfter: Date.now() + 1_000_000_000 };
  const common = { ...times, names: [], authority: true, authorityKeyId: undefined };
  const root = signCertificate(
    { ...common, issuer: rootName, subject: rootName, publicKey: rootKeys.publicKey },
    rootKeys.privateKey,
  );
  const name = distinguishedName("corp", "mesh");
  const intermediate = signCertificate(
    { ...common, issuer: rootName, subject: name, publicKey: keys.publicKey },
    rootKeys.privateKey,
  );
  const pem = (bytes: Buffer) => derToPem(bytes, "CERTIFICATE");
  writeFileSync(join(dir, "ca-cert.pem"), pem(intermediate));
  writeFileSync(join(dir, "ca-key.pem"), keys.privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(dir, "root-cert.pem"), pem(root));
  writeFileSync(join(dir, "cert-chain.pem"), pem(intermediate) + pem(root));
  return { dir, root: new X509Certificate(root) };
}

/** Well-formed but for its kind of key: the signature is not reached. */
function edwardsCsr(): string {
  return makeCsr(p256().privateKey, { claimedKey: generateKeyPairSync("ed25519").privateKey });
}
