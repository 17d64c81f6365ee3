import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { MeshConfig } from "@trama/engine";
import { expect, onTestFinished, test, vi } from "vitest";

import { type ControlPlane, startControlPlane } from "../../control-plane/src/index.ts";
import { openClient } from "./client.ts";

// Our client on our control plane, over the real wire, in both forms of xDS: the bookshop's mesh means the same in both.

async function bookshop(): Promise<{ controlPlane: ControlPlane; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), "trama-variants-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(join(import.meta.dirname, "../../examples/bookshop/mesh"), join(folder, "mesh"), { recursive: true });
  const controlPlane = await startControlPlane({
    configDirs: [join(folder, "mesh")],
    dataDir: join(folder, "data"),
    port: 0,
    httpPort: 0,
    shutdownGraceSeconds: 0,
    logLevel: "silent",
  });
  onTestFinished(() => controlPlane.close());
  return { controlPlane, folder };
}

const weights = (config: MeshConfig): unknown =>
  config.outbound
    .get("catalog:8080")
    ?.routes.virtualHosts[0]?.routes.flatMap(({ action }) => (action.kind === "forward" ? action.clusters : []))
    .map((cluster) => cluster.weight);

test.each(["delta", "sotw"] as const)("the bookshop over %s", async (variant) => {
  const { controlPlane, folder } = await bookshop();
  const { client, logged } = await openClient(controlPlane, variant, "storefront", { labels: { app: "storefront" } });

  await expect(client.outbound("catalog:8080")).resolves.toBe("found");
  expect(weights(client.config)).toEqual([1, 90, 10]);
  await expect(client.outbound("unknown.example.com:443")).resolves.toBe("missing");
  await expect(client.inbound("127.0.0.1:8080")).resolves.toBe("found");

  const file = join(folder, "mesh/catalog.yaml");
  const text = readFileSync(file, "utf8").replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50");
  writeFileSync(file, text);
  await vi.waitFor(() => expect(weights(client.config)).toEqual([1, 50, 50]), { timeout: 4_000 });

  const states = client.status().resources.map((one) => `${one.type} ${one.name} ${one.state}`);
  expect(states.filter((state) => !state.endsWith(" ACKED"))).toEqual([
    "listener unknown.example.com:443 DOES_NOT_EXIST",
  ]);
  const [seen] = controlPlane.status().clients;
  expect(seen?.protocol).toBe(variant);
  expect(Object.values(seen?.types ?? {}).flatMap((type) => type.nackText ?? [])).toEqual([]);
  expect(logged.filter((one) => one.level === "warn" || one.level === "error")).toEqual([]);
});
