import { execFile } from "node:child_process";
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { decodeJwt, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Failure } from "./harness/rpc.ts";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type TestMesh } from "./harness/mesh.ts";
import { RemoteError, start, type Program, type StartOptions } from "./harness/program.ts";
import { rawPlain, rawTls, requestBytes } from "./harness/raw.ts";
import { during, until } from "./harness/until.ts";
import type { ControlPlaneMethods } from "./programs/control-plane.ts";
import type { JoinMethods, JoinOptions, Outcome } from "./programs/join.ts";
import { documents, peerAuthentication, serviceEntry } from "./harness/yaml.ts";

/**
 * Bad circumstances of a start. Each ends in one typed error with a code, in bounded time, and leaves nothing behind:
 * never a hang, never plaintext by accident.
 */

/** Given to joinMesh where something does not answer; the error must come soon after, as soon as a busy machine permits. */
const joinTimeoutMs = 2_000;
const slackMs = 8_000;

let mesh: TestMesh;
let foreign: TestMesh;
let good: { controlPlane: string; rootCertFile: string; token: string };

beforeAll(async () => {
  [mesh, foreign] = await Promise.all([
    startMesh({
      yaml: { "shop.yaml": documents(peerAuthentication("shop", "STRICT"), serviceEntry("catalog", "shop")) },
    }),
    startMesh(),
  ]);
  good = await joinOptions(mesh);
});
afterAll(async () => {
  await Promise.all([mesh?.close(), foreign?.close()]);
  await expectNoLeaks();
});

async function joinOptions(of: TestMesh): Promise<typeof good> {
  const { port, rootCertFile } = of.controlPlane;
  return { controlPlane: `127.0.0.1:${port}`, rootCertFile, token: await token(of, "shop") };
}

function token(of: TestMesh, namespace: string, lifeSeconds: number = 3_600): Promise<string> {
  return of.controlPlane.call("issueToken", { namespace, serviceAccount: "customer", lifeSeconds });
}

/** The key by which the control plane signs: whatever is wrong with a token that it signed is not its signature. */
async function tokenKey(): Promise<KeyObject> {
  return createPrivateKey(await readFile(join(mesh.folder, "control-plane", "token-key.pem"), "utf8"));
}

/** A token that the control plane itself might have signed, with other claims. */
async function resigned(claims: Readonly<Record<string, unknown>>): Promise<string> {
  return new SignJWT({ ...decodeJwt(good.token), ...claims })
    .setProtectedHeader({ alg: "ES256", typ: "JWT" })
    .sign(await tokenKey());
}

function now(): number {
  return Math.floor(Date.now() / 1_000);
}

function joiner(more: Partial<StartOptions> = {}): Promise<Program<JoinMethods>> {
  return start<JoinMethods>({ name: "joiner", file: "join.ts", ...more });
}

/** Tries to join; after a failure the process must end by itself: nothing was left behind that holds it. */
async function tryToJoin(options: JoinOptions, more: Partial<StartOptions> = {}): Promise<Outcome> {
  const program = await joiner(more);
  const outcome = await program.call("join", options);
  if (outcome.failure === undefined) {
    await program.call("close");
  }
  await expectToEnd(program, outcome.failure?.code ?? "close");
  return outcome;
}

/** Nothing but the test's channel may have held the process. */
async function expectToEnd(program: Program<JoinMethods>, after: string): Promise<void> {
  await program.call("letGo");
  const end = await Promise.race([program.ended, during(5_000)]);
  if (end === undefined) {
    program.kill("SIGKILL");
    await program.ended;
    throw new Error(`the process did not end by itself after ${after}`);
  }
  expect(end, program.output()).toMatchObject({ code: 0 });
}

function expectTyped(outcome: Outcome, codes: readonly string[], withinMs: number = slackMs): void {
  expect(outcome.failure, "it joined").toBeDefined();
  expect(codes, JSON.stringify(outcome.failure)).toContain(outcome.failure!.code);
  expect(outcome.failure!.name).toBe("TramaError");
  expect(outcome.failure!.message.length).toBeGreaterThan(20);
  expect(outcome.tookMs).toBeLessThan(withinMs);
}

describe("what it was told cannot be used", () => {
  // One process tries them all: a refusal must not stand in the way of the next attempt either.
  let program: Program<JoinMethods>;
  beforeAll(async () => {
    program = await joiner();
  });
  afterAll(() => expectToEnd(program, "all the refusals"));

  test.each<[string, () => JoinOptions]>([
    ["nothing at all", () => ({})],
    ["a control plane without port", () => ({ ...good, controlPlane: "127.0.0.1" })],
    ["a control plane with an impossible port", () => ({ ...good, controlPlane: "127.0.0.1:99999" })],
    ["a control plane that is a URL", () => ({ ...good, controlPlane: "http://127.0.0.1:1/" })],
    ["an empty control plane", () => ({ ...good, controlPlane: "" })],
    ["no root certificate", () => ({ controlPlane: good.controlPlane, token: good.token })],
    ["a root certificate file that is not there", () => ({ ...good, rootCertFile: join(mesh.folder, "none.pem") })],
    [
      "a root certificate that is not one",
      () => ({ controlPlane: good.controlPlane, token: good.token, rootCert: "hello" }),
    ],
    ["no token", () => ({ controlPlane: good.controlPlane, rootCertFile: good.rootCertFile })],
    ["a token that is not a JWT", () => ({ ...good, token: "not.a-token" })],
    ["a token with a line break", () => ({ ...good, token: `${good.token.slice(0, 20)}\r\nx: y` })],
    ["a token file that is not there", () => ({ ...good, token: undefined, tokenFile: join(mesh.folder, "none") })],
    ["a certificate life out of bounds", () => ({ ...good, certificateLifeSeconds: 1 })],
    ["a time-out that is not a number", () => ({ ...good, joinTimeoutMs: Number.NaN })],
    ["a traffic policy that does not exist", () => ({ ...good, outboundTrafficPolicy: "ANYTHING" as "ALLOW_ANY" })],
  ])("%s", async (_what, options) => {
    expectTyped(await program.call("join", options()), ["OPTIONS_INVALID"]);
  });

  test.each<[string, Record<string, string>]>([
    ["labels without a value", { TRAMA_LABELS: "app" }],
    ["a time-out in words", { TRAMA_JOIN_TIMEOUT_MS: "soon" }],
    ["a certificate life of nothing", { TRAMA_CERTIFICATE_LIFE_SECONDS: "0" }],
    ["a negative drain", { TRAMA_DRAIN_MS: "-1" }],
  ])("in the environment: %s", async (_what, env) => {
    const outcome = await tryToJoin(good, { env });
    expectTyped(outcome, ["OPTIONS_INVALID"]);
    // The message names the very variable, so that it can be mended.
    expect(outcome.failure!.message).toContain(Object.keys(env)[0]);
  });

  test.each<[string, string | undefined]>([
    ["a file that is not there", undefined],
    ["an empty file", ""],
    ["text that is not JSON", "{ node: "],
    ["JSON that is not an object", "[]"],
    ["no servers", `{ "node": { "id": "x" } }`],
    ["servers that are not a list", `{ "xds_servers": {}, "node": { "id": "x" } }`],
    ["an empty list of servers", `{ "xds_servers": [], "node": { "id": "x" } }`],
    [
      "a server without channel credentials",
      `{ "xds_servers": [{ "server_uri": "127.0.0.1:1" }], "node": { "id": "x" } }`,
    ],
    [
      "channel credentials that nobody knows",
      `{ "xds_servers": [{ "server_uri": "127.0.0.1:1", "channel_creds": [{ "type": "magic" }] }], "node": { "id": "x" } }`,
    ],
    ["megabytes of nothing", `{ "x": "${"x".repeat(5_000_000)}" }`],
    ["depth without end", `${"[".repeat(100_000)}`],
  ])("a bootstrap that is %s", async (what, text) => {
    const file = join(mesh.folder, `${what.replace(/\W/g, "-")}.json`);
    if (text !== undefined) await writeFile(file, text);
    const outcome = await program.call("join", { bootstrap: file, joinTimeoutMs });
    expectTyped(outcome, ["BOOTSTRAP_INVALID"], joinTimeoutMs + slackMs);
  });
});

describe.concurrent("a control plane that cannot be had", () => {
  const unreachable = ["CONTROL_PLANE_UNREACHABLE", "CA_UNREACHABLE"];
  const withinMs = joinTimeoutMs + slackMs;

  test("nobody listens", async () => {
    const server = net.createServer();
    await listen(server);
    const { port } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    expectTyped(await tryToJoin({ ...good, controlPlane: `127.0.0.1:${port}`, joinTimeoutMs }), unreachable, withinMs);
  });

  test.each<[string, (socket: net.Socket) => void]>([
    ["takes the connection and says nothing", () => {}],
    ["takes the connection and drops it", (socket) => socket.destroy()],
    ["answers in plain HTTP", (socket) => socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")],
    ["answers rubbish", (socket) => socket.write(Buffer.alloc(1_000, 0xff))],
  ])("something that %s, and it is never told the token", async (_what, act) => {
    const heard: Buffer[] = [];
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.on("data", (chunk: Buffer) => heard.push(chunk));
      socket.on("error", () => {});
      act(socket);
    });
    await listen(server);
    try {
      const { port } = server.address() as net.AddressInfo;
      expectTyped(
        await tryToJoin({ ...good, controlPlane: `127.0.0.1:${port}`, joinTimeoutMs }),
        unreachable,
        withinMs,
      );
      expect(Buffer.concat(heard).includes(good.token.slice(0, 30))).toBe(false);
      expect(Buffer.concat(heard).includes("PRI * HTTP/2")).toBe(false);
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test("a control plane that our root does not vouch for", async () => {
    // Long enough that even a busy machine learns in it what is wrong: the message must say so.
    const patienceMs = 5_000;
    const { rootCertFile } = foreign.controlPlane;
    const outcome = await tryToJoin({ ...good, rootCertFile, joinTimeoutMs: patienceMs });
    expectTyped(outcome, unreachable, patienceMs + slackMs);
    expect(outcome.failure!.message).toMatch(/certificate|root|trust/i);
  });

  test("a control plane of another name than was asked for", async () => {
    const outcome = await tryToJoin({ ...good, controlPlaneName: "someone.else.example", joinTimeoutMs });
    expectTyped(outcome, unreachable, withinMs);
  });
});

describe("a control plane that does not take us", () => {
  const refused = ["CA_REFUSED", "UNAUTHENTICATED"];
  let program: Program<JoinMethods>;
  beforeAll(async () => {
    program = await joiner();
  });
  afterAll(() => expectToEnd(program, "all the refusals"));

  test.each<[string, () => string | Promise<string>]>([
    ["an expired token", () => resigned({ iat: now() - 3_600, exp: now() - 120 })],
    ["a token that begins tomorrow", () => resigned({ iat: now() + 86_400, exp: now() + 90_000 })],
    ["a token for another audience", () => resigned({ aud: ["kubernetes"] })],
    ["a token of another issuer", () => resigned({ iss: "https://kubernetes.default.svc" })],
    ["a token without an end", () => resigned({ exp: undefined })],
    ["a token of another control plane", () => token(foreign, "shop")],
    [
      "a token whose signature was changed",
      () => good.token.replace(/[^.]*$/, (signature) => (signature.startsWith("A") ? "B" : "A") + signature.slice(1)),
    ],
    [
      "a token that claims no algorithm",
      () => `${Buffer.from(`{"alg":"none","typ":"JWT"}`).toString("base64url")}.${good.token.split(".")[1]}.`,
    ],
    [
      "a token that takes the public key for a secret",
      async () =>
        new SignJWT(decodeJwt(good.token))
          .setProtectedHeader({ alg: "HS256" })
          .sign(Buffer.from(createPublicKey(await tokenKey()).export({ type: "spki", format: "pem" }))),
    ],
  ])("%s", async (_what, forged) => {
    // Refused, not waited for: the answer is there long before the time to join is over.
    expectTyped(await program.call("join", { ...good, token: await forged() }), refused);
  });

  test("a namespace that is not that of the token", async () => {
    const outcome = await program.call("join", { ...good, namespace: "other" });
    expectTyped(outcome, ["PERMISSION_DENIED"]);
    expect(outcome.failure!.message).toContain("other");
  });
});

describe.concurrent("a clock that is an hour off", () => {
  const hour = 3_600_000;
  const shifted = (ms: number): Partial<StartOptions> => ({
    execArgv: ["--import", new URL("./programs/clock-shift.ts", import.meta.url).href],
    env: { TEST_CLOCK_SHIFT_MS: String(ms) },
  });

  test("ours is behind: the certificate is not valid yet", async () => {
    const outcome = await tryToJoin(good, shifted(-hour));
    expectTyped(outcome, ["CLOCK_SKEW"]);
  });

  test("ours is ahead: a certificate of half an hour has ended before it came", async () => {
    const outcome = await tryToJoin({ ...good, certificateLifeSeconds: 1_800 }, shifted(hour));
    expectTyped(outcome, ["CLOCK_SKEW"]);
  });

  test("the control plane's is ahead: its own certificate is not valid yet", async () => {
    const ahead = await startMesh({ process: shifted(hour) });
    try {
      const outcome = await tryToJoin(await joinOptions(ahead));
      expectTyped(outcome, ["CLOCK_SKEW"]);
      expect(outcome.failure!.message).toMatch(/not yet valid|clock/i);
    } finally {
      await ahead.close();
    }
  });

  test("the control plane's is behind: a certificate of half an hour has ended before it came", async () => {
    const behind = await startMesh({ process: shifted(-hour) });
    try {
      const outcome = await tryToJoin({ ...(await joinOptions(behind)), certificateLifeSeconds: 1_800 });
      expectTyped(outcome, ["CLOCK_SKEW"]);
    } finally {
      await behind.close();
    }
  });

  test("ours is right again: it joins", async () => {
    expect((await tryToJoin(good, shifted(0))).failure).toBeUndefined();
  });
});

describe.concurrent("a folder for the key that cannot be used", () => {
  test("a file stands in its place, or in that of its parent", async () => {
    const file = join(mesh.folder, "in-the-way");
    await writeFile(file, "not a folder");
    for (const identityDir of [file, join(file, "below")])
      expectTyped(await tryToJoin({ ...good, identityDir }), ["KEY_STORE_FAILED"]);
  });

  test("a folder stands where a file belongs", async () => {
    const identityDir = join(mesh.folder, "crowded");
    for (const name of ["key.pem", "cert-chain.pem", "cert.pem", "root-cert.pem", "identity.json"])
      await mkdir(join(identityDir, name, "x"), { recursive: true });
    expectTyped(await tryToJoin({ ...good, identityDir }), ["KEY_STORE_FAILED"]);
  });

  test("files in it that are rubbish do not become an identity", async () => {
    const identityDir = join(mesh.folder, "rubbish");
    await mkdir(identityDir, { recursive: true });
    for (const name of ["key.pem", "cert-chain.pem", "cert.pem", "root-cert.pem", "identity.json"])
      await writeFile(join(identityDir, name), "rubbish", { mode: 0o600 });
    const outcome = await tryToJoin({ ...good, identityDir });
    // A new key and certificate in their place, or a refusal that says so: nothing in between.
    if (outcome.failure !== undefined) expectTyped(outcome, ["KEY_STORE_FAILED"]);
  });

  test("the disk is full, or may not be written", async (context) => {
    // A small file system of its own, for that one process; where the system does not permit that, there is nothing to see.
    const point = join(mesh.folder, "disk");
    await mkdir(point, { recursive: true });
    if (!(await canMount(point))) return context.skip("this system lets nobody mount a file system of his own");
    for (const [name, mount] of [
      [
        "full",
        `mount -t tmpfs -o size=16k tmpfs ${point} && (dd if=/dev/zero of=${point}/filler bs=1k count=64 2>/dev/null; true)`,
      ],
      ["read-only", `mount -t tmpfs -o ro tmpfs ${point}`],
    ] as const) {
      const shell = join(mesh.folder, `node-${name}`);
      await writeFile(
        shell,
        `#!/bin/sh\nexec unshare -Urm sh -c '${mount} && exec "$0" "$@"' "${process.execPath}" "$@"\n`,
      );
      await chmod(shell, 0o700);
      const outcome = await tryToJoin({ ...good, identityDir: join(point, "identity") }, { execPath: shell });
      expectTyped(outcome, ["KEY_STORE_FAILED"]);
      const failure = await failureOfStart({ dataDir: join(point, "control-plane") }, { execPath: shell });
      expect(failure).toMatchObject({ name: "ControlPlaneError", code: name === "full" ? "DISK_FULL" : "PERMISSION" });
    }
  });
});

describe("a control plane that goes before everything is there", () => {
  test("a server without configuration takes nobody, in no form, and says so; a call to an unknown host fails", async () => {
    const own = await startMesh();
    const program = await joiner();
    try {
      const joined = await program.call("join", {
        controlPlane: `127.0.0.1:${own.controlPlane.port}`,
        rootCertFile: own.controlPlane.rootCertFile,
        token: await token(own, "shop"),
        joinTimeoutMs: 5_000,
        discoveryTimeoutMs: 1_000,
        drainMs: 0,
      });
      expect(joined.failure).toBeUndefined();
      await own.killControlPlane();

      const port = await program.call("listen");
      expect((await rawPlain(port, requestBytes("GET", "/"))).text).toBe("");
      expect((await rawTls(port, { servername: "x" }, requestBytes("GET", "/"))).text).toBe("");
      expect(await program.call("handled")).toBe(0);

      const call = await program.call("fetch", "http://catalog:8080/");
      const codes = [call.failure?.code, ...(call.failure?.causes.map(({ code }) => code) ?? [])];
      expect(codes, JSON.stringify(call.failure)).toContain("NO_CONFIG");
      expect(call.tookMs).toBeLessThan(1_000 + slackMs);

      const readiness = await program.call("ready");
      expect(readiness.failure, "it says that it is ready").toMatchObject({ name: "TramaError", code: "NOT_READY" });
      expect(readiness.tookMs).toBeLessThan(5_000 + slackMs);
      expect((await program.call("close")).failure).toBeUndefined();
    } finally {
      await program.stop();
      await own.close();
    }
  });
});

describe.concurrent("the control plane itself", () => {
  test.each<[string, () => object, string]>([
    ["a file in place of its data folder", () => ({ dataDir: mesh.controlPlane.rootCertFile }), "DATA_DIR"],
    ["a port that is taken", () => ({ port: mesh.controlPlane.port }), "LISTEN"],
    ["an option that does not exist", () => ({ porrt: 1 }), "OPTIONS"],
    ["a trust domain that is not one", () => ({ trustDomain: "Not A Domain" }), "OPTIONS"],
  ])("%s", async (_what, options, code) => {
    expect(await failureOfStart(options())).toMatchObject({ name: "ControlPlaneError", code });
  });

  test("a policy folder that is not there: it says so, and is not ready until the folder comes", async () => {
    const folder = join(mesh.folder, "later");
    const program = await startControlPlane({ configDirs: [folder], dataDir: join(mesh.folder, "third") });
    try {
      expect(await program.call("status")).toMatchObject({ ready: false });
      expect(await program.call("diagnostics")).toMatchObject([{ severity: "error", code: "source", file: folder }]);
      await mkdir(folder);
      await until("it is ready", async () => (await program.call("status")).ready, 5_000);
    } finally {
      await program.stop();
    }
  });
});

function startControlPlane(options: object, more: Partial<StartOptions> = {}): Promise<Program<ControlPlaneMethods>> {
  return start<ControlPlaneMethods>({
    name: "control plane",
    file: "control-plane.ts",
    options: {
      configDirs: [join(mesh.folder, "policy")],
      dataDir: join(mesh.folder, "second"),
      port: 0,
      httpPort: 0,
      ...options,
    },
    ...more,
  });
}

/** Why a control plane did not start; one that did is ended, and gives `undefined`. */
async function failureOfStart(options: object, more: Partial<StartOptions> = {}): Promise<Failure | undefined> {
  try {
    await (await startControlPlane(options, more)).stop();
    return undefined;
  } catch (error) {
    if (error instanceof RemoteError) return error.failure;
    throw error;
  }
}

function listen(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}

/** Whether a process here may have a mount of its own. */
function canMount(point: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile("unshare", ["-Urm", "mount", "-t", "tmpfs", "tmpfs", point], (error) => resolve(error === null));
  });
}
