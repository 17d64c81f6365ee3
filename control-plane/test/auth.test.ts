import { generateKeyPairSync } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";
import { SignJWT } from "jose";
import { describe, expect, onTestFinished, test } from "vitest";

import { issueJoinToken } from "../src/auth/join-token.ts";
import { loadTokenKey } from "../src/auth/token-key.ts";
import { loadAuthority } from "../src/ca/authority.ts";
import { certificateAuthority } from "../src/ca/certificate-authority.ts";
import { makeCsr } from "./kit/csr.ts";
import { type Running, running } from "./kit/running.ts";
import { node } from "./kit/session-peer.ts";
import { tempDir } from "./kit/temp-dir.ts";

const { cluster } = typeUrls;
const shop = { namespace: "shop", serviceAccount: "web" } as const;
const hour = 3_600;
const now = (): number => Date.now();

/** What a delta stream with these credentials ends with, or `"served"`. */
async function attempt(client: ReturnType<Running["bare"]>): Promise<{ code: status; details: string } | "served"> {
  const stream = client.delta();
  stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
  return Promise.race([
    stream.next().then(
      () => "served" as const,
      () => stream.ended,
    ),
    stream.ended,
  ]);
}

/** A chain and key by the authority in `dir`, as if issued at `at`. */
async function certificate(
  dir: string,
  at = now(),
  lifeSeconds = hour,
  serviceAccount = "web",
  trustDomain = "cluster.local",
) {
  const authority = loadAuthority(`${dir}/ca`, at, { trustDomain });
  const ca = certificateAuthority(authority, { defaultSeconds: hour, maxSeconds: hour }, () => at);
  onTestFinished(() => ca.close());
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const identity = { trustDomain, namespace: "shop", serviceAccount, proof: "token", expiresAt: 0 } as const;
  const chain = await ca.issueWorkload(identity, makeCsr(privateKey), lifeSeconds);
  return { cert: chain[0] ?? "", key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}

describe("S32: who may open a stream", () => {
  test("nobody without an identity", async () => {
    const { bare } = await running({});
    expect(await attempt(bare())).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringMatching(/no identity/),
    });
  });

  test("the holder of a join token", async () => {
    const { client } = await running({});
    expect(await attempt(await client())).toBe("served");
  });

  test("the holder of a certificate of this mesh, without a token", async () => {
    const { bare, dataDir } = await running({});
    expect(await attempt(bare(await certificate(dataDir)))).toBe("served");
  });

  test("not the holder of an expired certificate, unless he has a token", async () => {
    const { bare, client, controlPlane } = await running({}, { dataDir: backdatedRoot() });
    const expired = await certificate(controlPlane.rootCertFile.replace(/\/ca\/.*/, ""), now() - 2 * hour * 1_000, 60);
    expect(await attempt(bare(expired))).toMatchObject({ code: status.UNAUTHENTICATED });
    expect(await attempt(await client(expired))).toBe("served");
  });

  test("not the holder of a certificate of another root, or of another trust domain", async () => {
    const { bare, dataDir } = await running({});
    expect(await attempt(bare(await certificate(tempDir())))).toMatchObject({ code: status.UNAUTHENTICATED });
    expect(await attempt(bare(await certificate(dataDir, now(), hour, "web", "evil.org")))).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringMatching(/trust domain evil.org/),
    });
  });

  const tokens: [string, (dataDir: string) => Promise<string>, RegExp][] = [
    ["expired", (dir) => issue(dir, { ...shop, lifeSeconds: 60 }, now() - hour * 1_000), /expired at/],
    ["from an hour ahead", (dir) => issue(dir, { ...shop, lifeSeconds: hour }, now() + hour * 1_000), /in the future/],
    ["of another control plane", () => issue(tempDir(), { ...shop, lifeSeconds: hour }), /not signed by this/],
    ["that is none", async () => "rubbish", /not a JWT/],
    ["with algorithm none", async () => unsigned(), /not a JWT/],
    ["of another issuer", (dir) => signed(dir, (jwt) => jwt.setIssuer("someone")), /claim iss/],
    ["for another audience", (dir) => signed(dir, (jwt) => jwt.setAudience("bank")), /claim aud/],
    ["without an end", (dir) => signed(dir, (jwt) => jwt, false), /claim exp/],
    ["of a user", (dir) => signed(dir, (jwt) => jwt.setSubject("admin")), /subject/],
    ["of a malformed account", (dir) => signed(dir, (jwt) => jwt.setSubject("system:serviceaccount:a:b:c")), /subject/],
  ];
  test.each(tokens)("not the holder of a token %s", async (_what, make, message) => {
    const { bare, dataDir } = await running({});
    expect(await attempt(bare({ token: await make(dataDir) }))).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringMatching(message),
    });
  });

  test("a token a little past its end passes, for clocks that differ", async () => {
    const { bare, dataDir } = await running({});
    const token = await issue(dataDir, { ...shop, lifeSeconds: 60 }, now() - 90_000);
    expect(await attempt(bare({ token }))).toBe("served");
  });
});

describe("S33: as whom", () => {
  test("a token of another namespace is refused", async () => {
    const { bare, controlPlane } = await running({});
    const token = await controlPlane.issueToken({ namespace: "bank", serviceAccount: "web", lifeSeconds: 60 });
    expect(await attempt(bare({ token }))).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringMatching(/namespace shop, its identity is of bank/),
    });
  });

  test("a certificate of another account is refused", async () => {
    const { bare, dataDir } = await running({});
    expect(await attempt(bare(await certificate(dataDir, now(), hour, "other")))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
  });
});

describe("the certificate service", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

  test("I28: issues for the caller, and what it issues opens a stream", async () => {
    const { client, bare } = await running({});
    const csr = makeCsr(privateKey, { uri: "spiffe://cluster.local/ns/bank/sa/root" });
    const chain = await (await client()).certificate({ csr, validityDuration: 60n });
    expect(chain).toHaveLength(2);
    const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const holder = bare({ cert: chain[0] ?? "", key });
    expect(await attempt(holder)).toBe("served");
    // I30: proof is the token again, or the present certificate.
    expect(await holder.certificate({ csr })).toHaveLength(2);
  });

  test("refuses without identity, a bad CSR, too long a life, and to speak for others (S37)", async () => {
    const { client, bare } = await running({});
    const csr = makeCsr(privateKey);
    await expect(bare().certificate({ csr })).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
    const one = await client();
    await expect(one.certificate({ csr: "x" })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await expect(one.certificate({ csr, validityDuration: 91n * 86_400n })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/7776000/),
    });
    const metadata = { ImpersonatedIdentity: "spiffe://cluster.local/ns/bank/sa/root" };
    await expect(one.certificate({ csr, metadata })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

test("a token is issued only for legal names and lives", async () => {
  const { controlPlane } = await running({});
  for (const bad of [
    { ...shop, namespace: "Shop", lifeSeconds: 60 },
    { ...shop, serviceAccount: "a:b", lifeSeconds: 60 },
    { ...shop, lifeSeconds: 0 },
    { ...shop, lifeSeconds: Number.NaN },
    { ...shop, lifeSeconds: 367 * 86_400 },
  ])
    await expect(controlPlane.issueToken(bad)).rejects.toThrow(/legal name|lives/);
});

function issue(dataDir: string, request: Parameters<typeof issueJoinToken>[1], at = now()): Promise<string> {
  return issueJoinToken(loadTokenKey(dataDir), request, at);
}

/** Signed by the right key, but otherwise as someone would who tries. */
function signed(dataDir: string, change: (jwt: SignJWT) => SignJWT, withEnd = true): Promise<string> {
  const jwt = new SignJWT()
    .setProtectedHeader({ alg: "ES256" })
    .setIssuer("trama")
    .setAudience("istio-ca")
    .setSubject("system:serviceaccount:shop:web")
    .setIssuedAt()
    .setJti("1");
  if (withEnd) jwt.setExpirationTime("1h");
  return change(jwt).sign(loadTokenKey(dataDir).privateKey);
}

function unsigned(): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(now() / 1_000) + hour;
  const claims = { iss: "trama", aud: "istio-ca", sub: "system:serviceaccount:shop:web", iat: 1, exp, jti: "1" };
  return `${part({ alg: "none" })}.${part(claims)}.`;
}

/** A data directory whose root is a day old, so that certificates of the past can be made with it. */
function backdatedRoot(): string {
  const dir = tempDir();
  loadAuthority(`${dir}/ca`, now() - 86_400_000, { trustDomain: "cluster.local" });
  return dir;
}
