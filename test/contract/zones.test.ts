import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test, vi } from "vitest";

import { startControlPlane } from "../../control-plane/src/index.ts";
import { Cluster } from "../../packages/engine/src/cluster/cluster.ts";
import { MeshError } from "../../packages/engine/src/errors.ts";
import { State } from "../../packages/engine/src/state.ts";
import { makeCall } from "../kit/call.ts";
import { testEnv } from "../kit/env.ts";
import { openClient } from "./client.ts";

// From YAML to the endpoint that is picked, over the real wire: where callers and endpoints are, and what a port takes.

const port = "[{ number: 80, name: http }]";
const entry = (name: string, endpoints: readonly string[]): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec: { hosts: [${name}], location: MESH_INTERNAL, resolution: STATIC, ports: ${port}, endpoints: [${endpoints.join()}] }
---`;
const at = (address: string, locality: string): string => `{ address: ${address}, locality: ${locality} }`;
const callers = (...zones: string[]): string =>
  entry(
    "web",
    zones.map((zone, index) => at(`10.0.1.${index + 1}`, `eu/${zone}`)),
  );
const rules = `${entry("catalog", [
  ...["a", "a", "b", "b", "b", "b"].map((zone, index) => at(`10.0.0.${index + 1}`, `eu/${zone}`)),
  at("10.0.0.9", "us/a"),
])}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: catalog, namespace: shop }
spec: { host: catalog, trafficPolicy: { loadBalancer: { simple: RANDOM, zoneAwareLbSetting: { enabled: true } } } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: web, namespace: shop }
spec: { ingress: [{ port: { number: 80 }, connectionPool: { http: { http2MaxRequests: 7 } } }] }
`;

test.each(["delta", "sotw"] as const)("zones and limits over %s", async (variant) => {
  const folder = mkdtempSync(join(tmpdir(), "trama-zones-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "mesh"));
  const write = (name: string, text: string): void => writeFileSync(join(folder, "mesh", name), text);
  write("rules.yaml", rules);
  write("callers.yaml", callers("a", "b"));
  const controlPlane = await startControlPlane({
    configDirs: [join(folder, "mesh")],
    dataDir: join(folder, "data"),
    port: 0,
    httpPort: 0,
    shutdownGraceSeconds: 0,
    logLevel: "silent",
  });
  onTestFinished(() => controlPlane.close());
  const { client } = await openClient(controlPlane, variant, "web", {
    ip: "10.0.1.1",
    locality: { region: "eu", zone: "a", subZone: "" },
  });

  await expect(client.outbound("catalog:80")).resolves.toBe("found");
  const cluster = () => client.config.clusters.get("outbound|80||catalog.shop.svc.cluster.local")!;
  /** How many of 20,000 calls come to each zone, in percent: endpoints of `eu/a` end in 1 and 2, those of `eu/b` in 3 to 6. */
  const shares = (): readonly number[] => {
    const { picker } = new Cluster(cluster(), testEnv(), new State());
    const counts = [0, 0, 0];
    for (let call = 0; call < 20_000; call++) {
      const picked = picker.pick(makeCall());
      const last = picked instanceof MeshError ? 9 : Number(picked.config.host.split(".")[3]);
      counts[last <= 2 ? 0 : last <= 6 ? 1 : 2]!++;
    }
    return counts.map((count) => Math.round(count / 200));
  };
  await vi.waitFor(() => expect(cluster().zoneAware?.local).toBeDefined(), { timeout: 4_000 });
  // A third of the endpoints for half of the callers: two thirds stay.
  const [near, far, abroad] = shares();
  expect(Math.abs(near! - 66.7)).toBeLessThan(2);
  expect([near! + far!, abroad]).toEqual([100, 0]);

  write("callers.yaml", callers("a", "b", "b"));
  await vi.waitFor(() => expect(shares()).toEqual([100, 0, 0]), { timeout: 4_000 });

  await expect(client.inbound("0.0.0.0:80")).resolves.toBe("found");
  expect(client.config.inbound.get("0.0.0.0:80")?.limits).toEqual({ maxConnections: undefined, maxRequests: 7 });
});
