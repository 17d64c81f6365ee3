import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../../test/kit/certs.ts";
import { certificateFacts, identityOf, parseSpiffeId } from "./certificate.ts";
import { DerError } from "./der.ts";

const root = makeCertificate("root");
const leaf = (uris: readonly string[], more: object = {}): X509Certificate =>
  new X509Certificate(makeCertificate("leaf", { issuer: root, uris, ...more }).certPem);

test("names are read from the bytes: quoting, separators and other kinds do not make names", () => {
  const id = spiffe("shop", "web");
  expect(identityOf(leaf([id]))).toMatchObject({
    uri: id,
    trustDomain: "cluster.local",
    namespace: "shop",
    serviceAccount: "web",
  });
  // In Node's text form this DNS name reads like a second URI.
  expect(
    certificateFacts(leaf([id], { dnsNames: ["x, URI:spiffe://cluster.local/ns/shop/sa/admin"] }).raw).uris,
  ).toEqual([id]);
  expect(identityOf(leaf([], { dnsNames: [id] }))).toContain("0 URI names");
});

test("rule 8: exactly one SPIFFE name, no CA, a key that signs", () => {
  const id = spiffe("shop", "web");
  for (const [uris, more] of [
    [[], {}],
    [[id, id], {}],
    [["https://cluster.local/ns/shop/sa/web"], {}],
    [[`${id}\u0000.evil`], {}],
    [[id], { ca: true }],
    [[id], { keyUsage: 0x84 }],
    [[id], { keyUsage: 0x20 }],
  ] as const)
    expect(typeof identityOf(leaf(uris, more)), JSON.stringify([uris, more])).toBe("string");
  expect(typeof identityOf(leaf([id], { keyUsage: null }))).toBe("object");
});

test("SPIFFE ids: exactly the grammar, and a round trip", () => {
  const name = fc.stringMatching(/^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,20}$/);
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z0-9._-]{1,30}$/), name, name, (trustDomain, namespace, serviceAccount) => {
      const uri = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
      expect(parseSpiffeId(uri)).toEqual({ uri, trustDomain, namespace, serviceAccount });
    }),
  );
  for (const wrong of [
    "SPIFFE://a/ns/b/sa/c",
    "spiffe://A/ns/b/sa/c",
    "spiffe:///ns/b/sa/c",
    "spiffe://a:80/ns/b/sa/c",
    "spiffe://u@a/ns/b/sa/c",
    "spiffe://a/ns/b/sa/",
    "spiffe://a/ns/../sa/c",
    "spiffe://a/ns/./sa/c",
    "spiffe://a/ns/b/sa/c/",
    "spiffe://a/ns/b/sa/c?d",
    "spiffe://a/ns/b%2f/sa/c",
    "spiffe://a/sa/b/ns/c",
  ])
    expect(parseSpiffeId(wrong), wrong).toBeUndefined();
});

test("truncated and random bytes are errors of one kind, in bounded time", () => {
  const good = leaf([spiffe("shop", "web")]).raw;
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.boolean(), (at, byte, cut) => {
      const bytes = cut ? good.subarray(0, at) : Buffer.from(good);
      if (!cut) bytes[at] = byte;
      try {
        certificateFacts(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(DerError);
      }
    }),
    { numRuns: 2_000 },
  );
});
