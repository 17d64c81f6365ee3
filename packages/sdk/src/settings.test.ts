import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import type { MeshOptions } from "./options.ts";
import { settingsOf } from "./settings.ts";

let folder: string;
let rootCertFile: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "trama-settings-"));
  rootCertFile = join(folder, "root.pem");
  writeFileSync(rootCertFile, makeCertificate("root").certPem);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const jwt = (claims: object): string =>
  [{ alg: "ES256" }, claims, "signature"]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
const token = jwt({ sub: "system:serviceaccount:shop:web" });
const good = (): MeshOptions => ({ controlPlane: "127.0.0.1:15012", rootCertFile, token });

test("namespace, service account and workload come from the token", async () => {
  expect(await settingsOf(good(), {})).toMatchObject({
    namespace: "shop",
    serviceAccount: "web",
    workload: "web",
    drainMs: 5_000,
    outboundTrafficPolicy: "ALLOW_ANY",
  });
});

test("every option comes from the environment too, and code wins", async () => {
  const env = {
    TRAMA_CONTROL_PLANE: "cp:15012",
    TRAMA_ROOT_CERT_FILE: rootCertFile,
    TRAMA_TOKEN: token,
    TRAMA_WORKLOAD: "web-1",
    TRAMA_LABELS: "app=web, version=v2",
    TRAMA_DRAIN_MS: "0",
    TRAMA_METRICS_GRPC_METHODS: "100",
    TRAMA_OUTBOUND_TRAFFIC_POLICY: "REGISTRY_ONLY",
    TRAMA_IDENTITY_DIR: "",
  };
  expect(await settingsOf({}, env)).toMatchObject({
    controlPlane: "cp:15012",
    workload: "web-1",
    labels: { app: "web", version: "v2" },
    drainMs: 0,
    metrics: { grpcMethods: 100 },
    outboundTrafficPolicy: "REGISTRY_ONLY",
    identityDir: undefined,
  });
  expect((await settingsOf({ workload: "mine" }, env)).workload).toBe("mine");
  expect((await settingsOf({ metrics: { grpcMethods: 3 } }, env)).metrics).toEqual({ grpcMethods: 3 });
  await expect(settingsOf({ metrics: { grpcMethods: -1 } }, env)).rejects.toThrow(/TRAMA_METRICS_GRPC_METHODS/);
});

test("gRPC's variables name a bootstrap too, and what is ours goes before (BS1)", async () => {
  for (const env of [{ GRPC_XDS_BOOTSTRAP: "/run/boot.json" }, { GRPC_XDS_BOOTSTRAP_CONFIG: "{}" }]) {
    expect(await settingsOf({}, env)).toMatchObject({ controlPlane: "", bootstrap: undefined });
    expect(await settingsOf({ bootstrap: "mine.json" }, env)).toMatchObject({ bootstrap: "mine.json" });
    await expect(settingsOf({}, { ...env, TRAMA_CONTROL_PLANE: "cp:15012" })).rejects.toThrow("rootCertFile");
  }
});

test("each fault names the option and the variable", async () => {
  const whole = makeCertificate("root").certPem;
  // Of two certificates the second is cut off, as by a copy that was not complete.
  const damaged = `${whole}${whole.slice(0, 200)}\n-----END CERTIFICATE-----\n`;
  const faults: [keyof MeshOptions, MeshOptions, Record<string, string>?][] = [
    ["controlPlane", { ...good(), controlPlane: undefined }],
    ["controlPlane", { ...good(), controlPlane: "http://x:1/" }],
    ["controlPlane", { ...good(), controlPlane: "x:99999" }],
    ["controlPlane", { ...good(), controlPlane: "" }],
    ["rootCertFile", { ...good(), rootCertFile: undefined }],
    ["rootCertFile", { ...good(), rootCertFile: "/nowhere" }],
    ["rootCert", { ...good(), rootCertFile: undefined, rootCert: "hello" }],
    ["rootCert", { ...good(), rootCertFile: undefined, rootCert: damaged }],
    ["rootCert", { ...good(), rootCert: "both" }],
    ["token", { ...good(), token: undefined }],
    ["token", { ...good(), token: "not.a-token" }],
    ["token", { ...good(), token: `${token}\r\nx: y` }],
    ["token", { ...good(), token: () => Promise.reject(new Error("vault sealed")) }],
    ["tokenFile", { ...good(), token: undefined, tokenFile: "/nowhere" }],
    ["namespace", { ...good(), token: jwt({ sub: "somebody" }) }],
    ["joinTimeoutMs", { ...good(), joinTimeoutMs: null as unknown as number }],
    ["joinTimeoutMs", { ...good(), joinTimeoutMs: 1.5 }],
    ["drainMs", good(), { TRAMA_DRAIN_MS: "soon" }],
    ["certificateLifeSeconds", good(), { TRAMA_CERTIFICATE_LIFE_SECONDS: "0" }],
    ["labels", good(), { TRAMA_LABELS: "app" }],
    ["outboundTrafficPolicy", { ...good(), outboundTrafficPolicy: "ANY" as "ALLOW_ANY" }],
  ];
  for (const [field, options, env = {}] of faults) {
    const variable = `TRAMA_${field.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    await expect(settingsOf(options, env), field).rejects.toMatchObject({
      code: "OPTIONS_INVALID",
      field,
      message: expect.stringContaining(variable) as string,
    });
  }
});

test("I7: a namespace that is not the token's is refused before anybody is asked", async () => {
  await expect(settingsOf({ ...good(), namespace: "other" }, {})).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
});

test("a locality is region, zone and subzone, cut short where one likes", async () => {
  const locality = async (text: string): Promise<unknown> =>
    (await settingsOf({ ...good(), locality: text }, {})).locality;
  expect(await locality("eu/a/r1")).toEqual({ region: "eu", zone: "a", subZone: "r1" });
  expect(await locality("eu")).toEqual({ region: "eu", zone: "", subZone: "" });
  expect((await settingsOf(good(), { TRAMA_LOCALITY: "eu/a" })).locality).toMatchObject({ zone: "a" });
  expect((await settingsOf(good(), {})).locality).toBeUndefined();
  for (const text of ["/a", "eu//r1", "a/b/c/d", "e u"])
    await expect(locality(text)).rejects.toMatchObject({ code: "OPTIONS_INVALID", field: "locality" });
});

test("overload: off without a word, in units and bounds, from the environment too", async () => {
  const of = async (overload: MeshOptions["overload"], env = {}): Promise<unknown> =>
    (await settingsOf({ ...good(), overload }, env)).overload;
  expect(await of(undefined)).toBeUndefined();
  expect(await of({ loopDelayMs: 0 })).toBeUndefined();
  expect(await of({ loopDelayMs: 100, utilizationPercent: 95 })).toEqual({
    loopDelayMs: 100,
    utilization: 0.95,
    concurrency: undefined,
    exempt: ["/healthz", "/livez", "/readyz"],
  });
  const env = { TRAMA_OVERLOAD_MAX_CONCURRENCY: "200", TRAMA_OVERLOAD_EXEMPT: "/up, /live" };
  expect(await of(undefined, env)).toMatchObject({
    loopDelayMs: undefined,
    concurrency: { minConcurrency: 3, maxConcurrency: 200, minRttRequests: 50 },
    exempt: ["/up", "/live"],
  });
  expect(await of({ maxConcurrency: 2 })).toMatchObject({ concurrency: { minConcurrency: 2 } });
  for (const wrong of [
    { loopDelayMs: 5 },
    { utilizationPercent: 100 },
    { maxConcurrency: 5, minConcurrency: 6 },
    { loopDelayMs: 50, exempt: ["healthz"] },
  ])
    await expect(of(wrong)).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
});
