import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { typeUrls } from "@trama/proto";
import { describe, expect, onTestFinished, test } from "vitest";

import { exitCodes, runCli } from "../src/cli.ts";
import { testClient } from "./kit/ads-client.ts";
import { node } from "./kit/session-peer.ts";
import { tempDir } from "./kit/temp-dir.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const serviceEntry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: web, namespace: shop }
spec:
  hosts: [web.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1 }]
`;

interface Ready {
  readonly port: number;
  readonly statusUrl: string;
  readonly rootCertFile: string;
}

describe("the program", { timeout: 30_000 }, () => {
  test("serves; after kill -9 and a restart on the same data a client re-syncs with nothing re-sent (S4)", async () => {
    const { data, config } = folders();
    const first = await start(data, config, 0);
    const token = (await cli("token", "--data", data, "--namespace", "shop", "--service-account", "web")).out.trim();
    const root = readFileSync(first.ready.rootCertFile, "utf8");
    const name = "outbound|80||web.shop.svc.cluster.local";
    const types = [typeUrls.cluster, typeUrls.clusterLoadAssignment, typeUrls.routeConfiguration];
    const before = testClient(first.ready.port, { root, token }).delta();
    const versions = new Map<string, string>();
    for (const typeUrl of types) {
      before.send({ node, typeUrl, resourceNamesSubscribe: [name] });
      const response = await before.next();
      expect(response.resources.map((resource) => resource.name)).toEqual([name]);
      versions.set(typeUrl, response.resources[0]?.version ?? "");
    }
    first.child.kill("SIGKILL");
    await first.exited;

    const second = await start(data, config, first.ready.port);
    expect(readFileSync(second.ready.rootCertFile, "utf8")).toBe(root);
    const after = testClient(second.ready.port, { root, token }).delta();
    for (const typeUrl of types)
      after.send({
        node,
        typeUrl,
        resourceNamesSubscribe: [name],
        initialResourceVersions: { [name]: versions.get(typeUrl) ?? "" },
      });
    // Answered after the others, and the only thing that is.
    after.send({ typeUrl: typeUrls.listener, resourceNamesSubscribe: ["nobody:80"] });
    expect(await after.next()).toMatchObject({ typeUrl: typeUrls.listener, removedResources: ["nobody:80"] });

    expect((await fetch(`${second.ready.statusUrl}/ready`)).status).toBe(200);
    second.child.kill("SIGTERM");
    expect(await second.exited).toBe(0);
  });

  test("says in one line why it cannot start", async () => {
    const { data, config } = folders();
    const first = await start(data, config, 0);
    const taken = await cli("run", "--data", data, "--config", config, "--port", `${first.ready.port}`);
    expect(taken).toMatchObject({ code: exitCodes.failed, err: expect.stringMatching(/^LISTEN: .*EADDRINUSE.*\n$/) });
    const file = join(data, "file");
    writeFileSync(file, "");
    expect(await cli("run", "--data", file, "--config", config)).toMatchObject({
      code: exitCodes.failed,
      err: expect.stringMatching(/^DATA_DIR: .*\n$/),
    });
    writeFileSync(join(data, "token-key.pem"), "rubbish");
    expect(await cli("run", "--data", data, "--config", config)).toMatchObject({
      code: exitCodes.failed,
      err: expect.stringMatching(/^TOKEN_KEY_INVALID: .*\n$/),
    });
  });
});

describe("the command line", () => {
  test("check prints every fault at its place, and 1 if one is an error", async () => {
    const { config } = folders();
    expect(await cli("check", config)).toMatchObject({ code: exitCodes.ok });
    writeFileSync(join(config, "bad.yaml"), serviceEntry.replace("location", "locatoin"));
    const { code, out } = await cli("check", config);
    expect(code).toBe(exitCodes.faults);
    expect(out).toMatch(/bad\.yaml:6:3: .*locatoin/);
    expect((await cli("check", join(config, "nothing"))).code).toBe(exitCodes.faults);
  });

  test("the file of the networks is read at the start, and a fault in it is told with its place", async () => {
    const { data, config } = folders();
    const networks = join(data, "networks.yaml");
    const entry = serviceEntry.replace("address: 127.0.0.1", "address: 127.0.0.1, network: west");
    writeFileSync(join(config, "web.yaml"), entry);
    writeFileSync(networks, "networks: { west: { gateways: [{ address: 192.0.2.1 }] } }");
    expect(await cli("check", config, "--networks", networks)).toMatchObject({ code: exitCodes.ok, out: "" });
    expect((await cli("check", config)).out).toMatch(/web\.yaml:9:46: warning: .*no networks are described/);
    writeFileSync(networks, "networks:\n  west: { gateway: [] }");
    for (const args of [
      ["check", config],
      ["run", "--data", data, "--config", config, "--port", "0", "--http-port", "0"],
    ]) {
      const { code, err } = await cli(...args, "--networks", networks);
      expect(code).toBe(exitCodes.usage);
      expect(err).toMatch(/^OPTIONS: .*\n.*networks\.yaml:2:11: .*did you mean gateways/);
      expect((await cli(...args, "--networks", join(data, "none"))).err).toMatch(/^OPTIONS: .*none cannot be read/);
    }
  });

  test("what it does not understand ends with 2 and the usage", async () => {
    const { data, config } = folders();
    for (const args of [
      [],
      ["bogus"],
      ["run", "--config", config],
      ["run", "--data", data],
      ["run", "--data", data, "--config", config, "--port", "x"],
      ["run", "--data", data, "--config", config, "--port", "99999"],
      ["run", "--data", data, "--config", config, "--certificate-life", "1y"],
      ["token", "--data", data, "--namespace", "shop"],
      ["check"],
      ["check", "--bogus"],
    ])
      expect(await cli(...args)).toMatchObject({ code: exitCodes.usage, out: "" });
    for (const args of [["--help"], ["help"], ["run", "--help"], ["check", "-h"]])
      expect(await cli(...args)).toMatchObject({ code: exitCodes.ok, err: "" });
  });

  test("token refuses illegal names and lives", async () => {
    const { data } = folders();
    const token = (name: string, life: string) =>
      cli("token", "--data", data, "--namespace", name, "--service-account", "web", "--life", life);
    expect((await token("Shop", "1h")).code).toBe(exitCodes.faults);
    expect((await token("shop", "400d")).code).toBe(exitCodes.faults);
    expect((await token("shop", "soon")).code).toBe(exitCodes.usage);
  });
});

function folders(): { data: string; config: string } {
  const dir = tempDir();
  const config = join(dir, "mesh");
  mkdirSync(config);
  writeFileSync(join(config, "web.yaml"), serviceEntry);
  const data = join(dir, "data");
  mkdirSync(data);
  return { data, config };
}

/** A process of its own, up and ready; killed after the test. */
async function start(
  data: string,
  config: string,
  port: number,
): Promise<{ child: ChildProcessByStdio<null, Readable, null>; ready: Ready; exited: Promise<number | null> }> {
  const args = ["--conditions=trama-source", main, "run", "--data", data, "--config", config, "--log", "silent"];
  const child = spawn(process.execPath, [...args, "--port", `${port}`, "--http-port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = new Promise<number | null>((resolve) => void child.once("exit", resolve));
  const line = new Promise<string>((resolve) => void child.stdout.once("data", (data) => resolve(String(data))));
  const first = await Promise.race([line, exited]);
  if (typeof first !== "string") throw new Error(`the control plane ended with ${first}`);
  return { child, ready: JSON.parse(first) as Ready, exited };
}

/** The program in this process; `run` ends at once when it got as far as that. */
async function cli(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await runCli(args, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    stopped: Promise.resolve(),
  });
  return { code, out, err };
}
