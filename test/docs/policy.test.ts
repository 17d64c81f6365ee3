import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { ConfigStore } from "../../control-plane/src/config-store.ts";
import { formatDiagnostic } from "../../control-plane/src/diagnostics.ts";
import { defaultMesh } from "../../control-plane/src/model/mesh.ts";
import { readNetworks } from "../../control-plane/src/sources/networks-file.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/policy.md"), "utf8");

function check(yaml: string): readonly string[] {
  return new ConfigStore(defaultMesh)
    .apply(new Map([["catalog.yaml", { text: yaml }]]))
    .diagnostics.map(formatDiagnostic);
}

test("the fault that docs/policy.md begins with is what the check says", () => {
  const [, shown = ""] = /^```\n(.*?)```$/ms.exec(page) ?? [];
  const yaml = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: db, namespace: shop }
spec:
  hosts: [db]
  tcp:
    - match: [{ port: 5432, destinationSubnets: [10.0.0.0/8] }]
      route: [{ destination: { host: db } }]
`;
  expect(check(yaml).join("\n")).toBe(shown.trim());
});

test("the example of docs/policy.md for connections is taken", () => {
  const section = page.slice(page.indexOf("## TCP and TLS"));
  const [, example = ""] = /^```yaml\n(.*?)```$/ms.exec(section) ?? [];
  const db = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: db, namespace: shop }
spec:
  hosts: [db]
  resolution: STATIC
  ports: [{ number: 5432, name: tcp }]
  endpoints: [{ address: 10.0.0.1, labels: { v: "15" } }, { address: 10.0.0.2, labels: { v: "16" } }, { address: 10.0.0.3, labels: { v: "0" } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: db, namespace: shop }
spec:
  host: db
  subsets: [{ name: v15, labels: { v: "15" } }, { name: v16, labels: { v: "16" } }, { name: replica, labels: { v: "0" } }]
---
apiVersion: networking.istio.io/v1
metadata: { name: db, namespace: shop }
`;
  expect(check(db + example)).toEqual([]);
});

test("the example of docs/policy.md for networks means what the page says", () => {
  const section = page.slice(page.indexOf("## Several networks"));
  const [, example = ""] = /^```yaml\n(.*?)```$/ms.exec(section) ?? [];
  const read = readNetworks("networks.yaml", example, defaultMesh.cluster);
  const { networks } = "networks" in read ? read : expect.fail(read.diagnostics.map(formatDiagnostic).join("\n"));
  expect(networks.find("10.1.2.3")).toBe("west");
  expect([...networks.gateways]).toEqual([
    ["west", [{ address: "192.0.2.1", port: 15_443 }]],
    [
      "east",
      [
        { address: "192.0.2.2", port: 15_443 },
        { address: "192.0.2.3", port: 443 },
      ],
    ],
  ]);
});
