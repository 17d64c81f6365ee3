import { X509Certificate } from "node:crypto";
import { readFileSync, readdirSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import { issueJoinToken } from "../src/auth/join-token.ts";
import { loadTokenKey } from "../src/auth/token-key.ts";
import { exitCodes, runCli } from "../src/cli.ts";
import { type BootstrapOptions, keepFresh, writeBootstrap } from "../src/join/bootstrap.ts";
import { fakeClock } from "./kit/fake-clock.ts";
import { running } from "./kit/running.ts";
import { tempDir } from "./kit/temp-dir.ts";

const nothing = { listeners: {}, clusters: {} };
const nowhere = { region: "", zone: "", sub_zone: "" };
const shopWeb = { namespace: "shop", serviceAccount: "web" } as const;
const who = ["--namespace", "shop", "--service-account", "web"];

describe("the command bootstrap", { timeout: 20_000 }, () => {
  test("writes a key, a certificate of the account and a bootstrap file (BS3, BS4, BS7, BS8, BS10)", async () => {
    const { port, dataDir } = await controlPlane();
    const dir = join(tempDir(), "web");
    const { code, out } = await bootstrap("--out", dir, "--data", dataDir, "--server", `127.0.0.1:${port}`, ...who);
    expect(code).toBe(exitCodes.ok);
    expect(JSON.parse(out)).toMatchObject({ ready: true, file: join(dir, "bootstrap.json") });
    const chain = new X509Certificate(readFileSync(join(dir, "cert-chain.pem")));
    expect(chain.subjectAltName).toBe("URI:spiffe://cluster.local/ns/shop/sa/web");
    expect(chain.verify(new X509Certificate(readFileSync(join(dir, "root-cert.pem"))).publicKey)).toBe(true);
    const file = JSON.parse(readFileSync(join(dir, "bootstrap.json"), "utf8")) as Bootstrap;
    expect(file.xds_servers[0]).toMatchObject({
      server_uri: `127.0.0.1:${port}`,
      channel_creds: [{ type: "tls", config: { private_key_file: join(dir, "key.pem") } }],
    });
    expect(file.node).toMatchObject({
      id: "sidecar~127.0.0.1~web.shop~shop.svc.cluster.local",
      metadata: { NAMESPACE: "shop", SERVICE_ACCOUNT: "web", GENERATOR: "grpc" },
    });
    expect(file.certificate_providers["default"]?.plugin_name).toBe("file_watcher");
    expect(file.server_listener_resource_name_template).toBe("xds.istio.io/grpc/lds/inbound/%s");
  });

  test("its files are the owner's alone and change together; one generation back is kept (BS16)", async () => {
    const { port, dataDir } = await controlPlane();
    const dir = join(tempDir(), "web");
    const args = ["--out", dir, "--data", dataDir, "--server", `127.0.0.1:${port}`, ...who];
    const keys = new Set<string>();
    for (let round = 0; round < 4; round++) {
      expect((await bootstrap(...args)).code).toBe(exitCodes.ok);
      const generation = join(dir, readlinkSync(join(dir, "..data")));
      for (const name of readdirSync(generation)) {
        expect(statSync(join(generation, name)).mode & 0o777, name).toBe(0o600);
        expect(readlinkSync(join(dir, name))).toBe(join("..data", name));
      }
      keys.add(readFileSync(join(dir, "key.pem"), "utf8"));
    }
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(keys.size).toBe(4);
    expect(readdirSync(dir).filter((name) => name.startsWith("..generation-"))).toHaveLength(2);
    expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("for Envoy: the private key stays in the folder, and Envoy watches it (S35)", async () => {
    const { port, dataDir } = await controlPlane();
    const dir = join(tempDir(), "web");
    const args = ["--out", dir, "--data", dataDir, "--server", `127.0.0.1:${port}`, ...who];
    const where = ["--locality", "r1/z1"];
    expect((await bootstrap(...args, "--for", "envoy", "--xds", "sotw", ...where)).code).toBe(exitCodes.ok);
    const file = readFileSync(join(dir, "envoy.json"), "utf8");
    expect(JSON.parse(file)).toMatchObject({
      node: {
        locality: { region: "r1", zone: "z1", sub_zone: "" },
        metadata: {
          TRAMA_IDENTITY_FILE: join(dir, "sds-default.json"),
          TRAMA_OUTBOUND: "127.0.0.1:15001",
          ENABLE_SELF_DISCOVERY: "true",
        },
      },
      cluster_manager: { local_cluster_name: "local_cluster" },
      static_resources: { clusters: [{ name: "trama-control-plane" }, { name: "local_cluster", type: "EDS" }] },
      dynamic_resources: { ads_config: { api_type: "GRPC" } },
    });
    expect(JSON.parse(readFileSync(join(dir, "sds-default.json"), "utf8"))).toMatchObject({
      resources: [
        {
          name: "default",
          tls_certificate: { private_key: { filename: join(dir, "key.pem") }, watched_directory: { path: dir } },
        },
      ],
    });
    expect(file).not.toContain("PRIVATE KEY");
  });

  test("the certificate is renewed at half of its life with a new key, and a failure is tried again (I30)", async () => {
    const { port, dataDir, root } = await controlPlane();
    const dir = join(tempDir(), "web");
    const clock = fakeClock(Date.now());
    const key = loadTokenKey(dataDir);
    const failures: string[] = [];
    let rootPem = root;
    const options: BootstrapOptions = {
      dir,
      server: `127.0.0.1:${port}`,
      workload: {
        ...shopWeb,
        name: "web",
        address: "127.0.0.1",
        labels: {},
        locality: nowhere,
        domain: "cluster.local",
        cluster: "",
      },
      software: { kind: "grpc", plaintext: undefined },
      lifeSeconds: 3_600,
      rootPem: () => rootPem,
      token: () => issueJoinToken(key, { ...shopWeb, lifeSeconds: 60 }, Date.now()),
    };
    const first = await writeBootstrap(options);
    const written = (): string => readFileSync(join(dir, "key.pem"), "utf8");
    expect(written()).toBe(first.keyPem);
    const stopped = Promise.withResolvers<void>();
    const ended = keepFresh(options, first, { clock, random: () => 0.5, stopped: stopped.promise }, ({ code }) =>
      failures.push(code),
    );
    clock.advance(1_790_000);
    expect(clock.waiting).toBe(1);
    rootPem = readFileSync(join((await controlPlane()).dataDir, "ca", "root-cert.pem"), "utf8");
    clock.advance(20_000);
    await expect.poll(() => failures, { timeout: 20_000 }).toEqual(["JOIN"]);
    expect(written()).toBe(first.keyPem);
    rootPem = root;
    await expect.poll(() => clock.waiting).toBe(1);
    clock.advance(10_000);
    await expect.poll(written).not.toBe(first.keyPem);
    stopped.resolve();
    await ended;
  });

  test("what it cannot do it says in one line, and shows nothing of a wrong file", async () => {
    const { port, dataDir, root } = await controlPlane();
    const dir = tempDir();
    const out = ["--out", join(dir, "web"), ...who];
    const rootFile = join(dir, "root.pem");
    writeFileSync(rootFile, root);
    const secretFile = join(dir, "secret");
    writeFileSync(secretFile, "-----BEGIN PRIVATE KEY-----\nvery secret");
    const failed = (args: readonly string[]) => bootstrap(...out, ...args);
    const server = ["--server", `127.0.0.1:${port}`];
    for (const args of [
      ["--data", dataDir, "--server", "127.0.0.1:1"],
      ["--token-file", secretFile, "--root", rootFile, ...server],
      ["--token-file", rootFile, "--root", secretFile, ...server],
      ["--token-file", join(dir, "none"), "--root", rootFile, ...server],
    ]) {
      const { code, err } = await failed(args);
      expect(code).toBe(exitCodes.failed);
      expect(err).toMatch(/^JOIN: [^\n]+\n$/);
      expect(err).not.toContain("secret\n");
      expect(err).not.toContain("PRIVATE KEY");
    }
    for (const args of [
      server,
      ["--data", dataDir, "--for", "nginx"],
      ["--data", dataDir, "--for", "envoy", "--xds", "rest"],
      ["--data", dataDir, "--server", "nowhere"],
      ["--data", dataDir, "--address", "web.shop"],
      ["--data", dataDir, "--label", "app"],
      ["--data", dataDir, "--locality", "r1/z1/s1/rack"],
    ])
      expect((await failed(args)).code, args.join(" ")).toBe(exitCodes.usage);
  });
});

interface Bootstrap {
  readonly xds_servers: readonly unknown[];
  readonly node: unknown;
  readonly certificate_providers: Readonly<Record<string, { readonly plugin_name: string }>>;
  readonly server_listener_resource_name_template: string;
}

async function controlPlane(): Promise<{ port: number; dataDir: string; root: string }> {
  const { controlPlane: plane, dataDir, root } = await running(nothing);
  return { port: plane.port, dataDir, root };
}

async function bootstrap(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    stopped: Promise.resolve(),
  };
  const code = await runCli(["bootstrap", ...args], terminal);
  return { code, out, err };
}
