import { createPublicKey, type KeyObject } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { makeCertificate, spiffe, type CertificateOptions } from "../../../../test/kit/certs.ts";
import { fakeClock, type FakeClock } from "../../../../test/kit/clock.ts";
import { elements, encode, only, tags } from "./der.ts";
import { IdentityError, type IdentitySource } from "./identity.ts";
import { createIdentity, type IdentityOptions } from "./rotation.ts";
import { type Signer, SigningFailure } from "./sign.ts";

const dayMs = 86_400_000;
let clock: FakeClock;
let root: ReturnType<typeof makeCertificate>;
const opened: IdentitySource[] = [];
const folders: string[] = [];

beforeEach(() => {
  clock = fakeClock();
  root = makeCertificate("root", { notBeforeMs: clock.wall() - 365 * dayMs, notAfterMs: clock.wall() + 3650 * dayMs });
});
afterEach(() => {
  for (const identity of opened.splice(0)) identity.close();
  expect(clock.pending).toBe(0);
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** The key that a request is about. */
function keyOf(csrPem: string): KeyObject {
  const bytes = Buffer.from(csrPem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
  const [info] = elements(only(bytes, tags.sequence));
  const spki = elements(info!.content)[2]!;
  return createPublicKey({ key: Buffer.from(encode(tags.sequence, spki.content)), format: "der", type: "spki" });
}

/** An authority as it should be, unless the test says how it is not. */
function authority(overrides: CertificateOptions = {}, life?: number): Signer {
  return (csrPem, lifeSeconds) => {
    const leaf = makeCertificate("leaf", {
      issuer: root,
      uris: [spiffe("shop", "web")],
      notBeforeMs: clock.wall() - 120_000,
      notAfterMs: clock.wall() + (life ?? lifeSeconds) * 1000,
      publicKey: keyOf(csrPem),
      ...overrides,
    });
    return Promise.resolve([leaf.certPem, root.certPem]);
  };
}

function identity(options: Partial<IdentityOptions> = {}): IdentitySource {
  const made = createIdentity({
    sign: authority(),
    roots: () => Promise.resolve([root.certPem]),
    expected: { namespace: "shop", serviceAccount: "web" },
    lifeSeconds: 86_400,
    folder: undefined,
    clock,
    random: () => 0.5,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    ...options,
  });
  opened.push(made);
  return made;
}

/** Lets everything happen that needs no time; key generation is done by a thread of Node's, so looks until it is true. */
async function settled(done: () => boolean): Promise<void> {
  await expect.poll(done, { interval: 5 }).toBe(true);
}

const refused = (): SigningFailure => new SigningFailure(false, new IdentityError("CA_REFUSED", "token expired"));
const down = (): SigningFailure => new SigningFailure(true, new IdentityError("CA_UNREACHABLE", "connection refused"));

test("a certificate for our own key and name is used; its root is not sent on to peers (I27)", async () => {
  const made = await identity().start();
  expect(made).toMatchObject({ spiffeId: spiffe("shop", "web"), trustDomain: "cluster.local", epoch: 1 });
  expect(made.chainPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
  expect(made.rootsPem).toHaveLength(1);
  expect(made.keyPem).toContain("PRIVATE KEY");
});

test("I28: another identity, another key, an unknown root, two names: refused", async () => {
  const stranger = makeCertificate("stranger", { notBeforeMs: clock.wall() - dayMs, notAfterMs: clock.wall() + dayMs });
  const wrong: CertificateOptions[] = [
    { uris: [spiffe("shop", "admin")] },
    { uris: [spiffe("other", "web")] },
    { uris: [spiffe("shop", "web"), spiffe("shop", "admin")] },
    { uris: [] },
    { publicKey: stranger.publicKey },
    { issuer: stranger },
    { ca: true },
    { keyUsage: 0x20 },
  ];
  for (const overrides of wrong)
    await expect(identity({ sign: authority(overrides) }).start()).rejects.toMatchObject({
      code: "CERTIFICATE_INVALID",
    });
  await expect(identity({ sign: () => Promise.resolve([]) }).start()).rejects.toMatchObject({
    code: "CERTIFICATE_INVALID",
  });
  await expect(
    identity({ sign: () => Promise.resolve(["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]) }).start(),
  ).rejects.toMatchObject({ code: "CERTIFICATE_INVALID" });
});

test("an intermediate between leaf and root is checked and sent on", async () => {
  const middle = makeCertificate("middle", {
    issuer: root,
    ca: true,
    notBeforeMs: clock.wall() - dayMs,
    notAfterMs: clock.wall() + dayMs,
  });
  const sign: Signer = async (csr, life, own, signal) => [
    (await authority({ issuer: middle })(csr, life, own, signal))[0]!,
    middle.certPem,
    root.certPem,
  ];
  expect((await identity({ sign }).start()).chainPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
});

test("a clock an hour off is named as such, with by how much", async () => {
  await expect(identity({ sign: authority({ notBeforeMs: clock.wall() + 3_600_000 }) }).start()).rejects.toMatchObject({
    code: "CLOCK_SKEW",
    message: expect.stringContaining("60 min") as string,
  });
  await expect(identity({ sign: authority({ notAfterMs: clock.wall() - 3_600_000 }) }).start()).rejects.toMatchObject({
    code: "CLOCK_SKEW",
  });
});

test("a root that has ended, or has not begun by our clock, is named as such, and not called unknown", async () => {
  const at = clock.wall();
  root = makeCertificate("root", { notBeforeMs: at - dayMs, notAfterMs: at - 3_600_000 });
  await expect(identity().start()).rejects.toMatchObject({
    code: "CLOCK_SKEW",
    message: expect.stringMatching(/^the certificate of its issuer "CN=root" ended at .*, 60 min before/) as string,
  });
  root = makeCertificate("root", { notBeforeMs: at + 3_600_000, notAfterMs: at + dayMs });
  await expect(identity().start()).rejects.toMatchObject({
    code: "CLOCK_SKEW",
    message: expect.stringContaining("is not valid before") as string,
  });
});

test("I30: five tries, 100 ms doubling, on what may pass; none on a refusal", async () => {
  let asked = 0;
  const good = authority();
  const patient = identity({ sign: (...request) => (++asked < 5 ? Promise.reject(down()) : good(...request)) });
  const started = patient.start();
  for (const [n, ms] of [
    [1, 100],
    [2, 200],
    [3, 400],
    [4, 800],
  ] as const) {
    await settled(() => asked === n && clock.pending === 1);
    clock.advance(ms - 1);
    expect(asked).toBe(n);
    clock.advance(1);
  }
  expect((await started).epoch).toBe(1);

  asked = 0;
  await expect(identity({ sign: () => (asked++, Promise.reject(refused())) }).start()).rejects.toMatchObject({
    code: "CA_REFUSED",
  });
  expect(asked).toBe(1);
});

test("while there is no certificate the start waits, says why, and can be given up", async () => {
  let asked = 0;
  const made = identity({ sign: () => (asked++, Promise.reject(down())) });
  const started = made.start();
  started.catch(() => {});
  for (let n = 1; n <= 5; n++) {
    await settled(() => asked === n && clock.pending === 1);
    clock.advance(1_000);
  }
  await settled(() => asked === 6);
  expect(made.lastError?.code).toBe("CA_UNREACHABLE");
  made.close();
  await expect(started).rejects.toBeInstanceOf(IdentityError);
});

test("renewed at half of life ± 1 %, with a new key, shown the present certificate", async () => {
  const proofs: (string | undefined)[] = [];
  const good = authority();
  let at = 0;
  const made = identity({
    random: () => 0.99,
    sign: (csr, life, own, signal) => {
      proofs.push(own?.certificatePem);
      at = clock.now();
      return good(csr, life, own, signal);
    },
  });
  const seen: number[] = [];
  made.onChange(({ epoch }) => seen.push(epoch));
  const first = await made.start();
  const startMs = at;
  for (let minutes = 0; minutes < 13 * 60 && seen.length < 2; minutes++) {
    clock.advance(60_000);
    await settled(() => clock.pending === 1 || seen.length === 2);
  }
  expect((at - startMs) / dayMs).toBeGreaterThan(0.499);
  expect((at - startMs) / dayMs).toBeLessThan(0.511);
  expect(seen).toEqual([1, 2]);
  expect(made.current!.keyPem).not.toBe(first.keyPem);
  expect(proofs).toEqual([undefined, first.chainPem]);
});

test("the last good pair stays while the authority is away or refuses, and asking goes on, never faster than once a second", async () => {
  let answer: "good" | "down" | "refused" = "good";
  let asked = 0;
  const good = authority({}, 20);
  const made = identity({
    sign: (...request) => {
      asked++;
      return answer === "good" ? good(...request) : Promise.reject(answer === "down" ? down() : refused());
    },
  });
  const first = await made.start();
  answer = "refused";
  for (let s = 0; s < 30; s++) {
    clock.advance(1_000);
    await settled(() => clock.pending === 1);
  }
  expect(made.current).toBe(first);
  expect(made.lastError?.code).toBe("CA_REFUSED");
  expect(asked).toBeLessThan(25);
  answer = "good";
  for (let s = 0; s < 10 && made.current === first; s++) {
    clock.advance(1_000);
    await settled(() => clock.pending === 1);
  }
  expect(made.current!.epoch).toBe(2);
  expect(made.lastError).toBeUndefined();
});

test("kept in the folder for the owner only, and used by the next start while the authority is away", async () => {
  const folder = join(mkdtempSync(join(tmpdir(), "trama-identity-")), "keys");
  folders.push(folder);
  const first = await identity({ folder }).start();
  expect(readdirSync(folder).toSorted()).toEqual(["cert-chain.pem", "key.pem", "root-cert.pem"]);
  for (const file of readdirSync(folder)) expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
  const second = await identity({ folder, sign: () => Promise.reject(down()) }).start();
  expect(second.chainPem).toBe(first.chainPem);

  // Another identity, or the halves of two pairs: a new one is asked for.
  let asked = 0;
  const counted: Signer = (...request) => (asked++, authority({ uris: [spiffe("shop", "other")] })(...request));
  await identity({ folder, expected: { namespace: "shop", serviceAccount: "other" }, sign: counted }).start();
  expect(asked).toBe(1);
  const key = readFileSync(join(folder, "key.pem"), "utf8");
  await identity({ folder }).start();
  writeFileSync(join(folder, "key.pem"), key);
  expect((await identity({ folder }).start()).epoch).toBe(1);
});

test("a folder that cannot be written is one clear error", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "trama-identity-")), "a-file");
  folders.push(file);
  writeFileSync(file, "");
  await expect(identity({ folder: join(file, "keys") }).start()).rejects.toMatchObject({ code: "KEY_STORE_FAILED" });
});
