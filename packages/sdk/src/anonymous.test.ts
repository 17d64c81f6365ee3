import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { typeUrls } from "@trama/proto";
import { afterAll, beforeAll, expect, test } from "vitest";

import { type AdsServer, startAdsServer } from "../../../test/kit/ads-server.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import {
  assignment,
  edsCluster,
  outboundListener,
  routeConfiguration,
  upstreamTlsContext,
} from "../../../test/kit/xds-resources.ts";
import { joinMesh } from "./join.ts";
import type { Mesh } from "./mesh-types.ts";

/** A process that has gRPC's own bootstrap and no certificate: what gRPC's libraries do with such a file. */

const folder = mkdtempSync(join(tmpdir(), "anonymous-"));
const checkLeaks = leakCheck();
let ads: AdsServer;
let backend: Server & { closeAllConnections(): void };
let mesh: Mesh;

beforeAll(async () => {
  ads = await startAdsServer();
  backend = createServer((_request, response) => void response.end("plain"));
  await listening(backend);
  const file = join(folder, "bootstrap.json");
  const bootstrap = {
    xds_servers: [{ server_uri: ads.address, channel_creds: [{ type: "insecure" }] }],
    node: { id: "any" },
    server_listener_resource_name_template: "inbound/%s",
  };
  writeFileSync(file, JSON.stringify(bootstrap));
  mesh = await joinMesh({ bootstrap: file, outboundTrafficPolicy: "REGISTRY_ONLY", joinTimeoutMs: 5_000, drainMs: 0 });
});
afterAll(async () => {
  await mesh?.close({ deadlineMs: 100 });
  backend?.closeAllConnections();
  await new Promise((resolve) => backend?.close(resolve));
  await ads?.close();
  rmSync(folder, { recursive: true });
  await checkLeaks();
});

function listening(server: Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}

/** A service on the backend's port, under this name. */
function service(name: string, secured: boolean): Parameters<AdsServer["set"]> {
  const { port } = backend.address() as AddressInfo;
  const tls = {
    transportSocket: {
      name: "tls",
      configType: { case: "typedConfig", value: upstreamTlsContext(["spiffe://x/ns/y/sa/z"]) },
    },
  } as const;
  return [
    outboundListener(`${name}:80`, name),
    routeConfiguration(name, [name, `${name}:80`], [name]),
    edsCluster(name, secured ? tls : {}),
    assignment(name, [{ address: "127.0.0.1", port }]),
  ];
}

test("calls in plaintext what policy lets it call so", async () => {
  ads.set(...service("open", false));
  const response = await mesh.fetch("http://open/");
  expect(await response.text()).toBe("plain");
  expect(mesh.status().identity).toBeUndefined();
});

test("what names a certificate is refused, and never called without (BS9, R51)", async () => {
  ads.set(...service("closed", true));
  await expect(mesh.fetch("http://closed/")).rejects.toThrow();
  const nack = await ads.until(() => ads.stream.nacks[0]);
  expect(nack).toMatchObject({ typeUrl: typeUrls.cluster });
  expect(nack.message).toContain('certificate provider instance "default" is not in the bootstrap');
});

test("its servers serve nobody, and say why", async () => {
  const server = mesh.protect(createServer());
  await listening(server);
  await expect.poll(() => mesh.status().servers[0]?.waitingFor).toBe("a certificate");
  await new Promise((resolve) => server.close(resolve));
});
