import type { Diagnostic } from "@trama/control-plane";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type TestMesh } from "./harness/mesh.ts";
import { during, until } from "./harness/until.ts";
import { authorization, documents, serviceEntry, subsets } from "./harness/yaml.ts";

/** Policy with a fault: said with its place, and without effect until it is mended. */

const good = (version: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: catalog, namespace: shop }
spec:
  hosts: [catalog.shop.svc.cluster.local]
  http:
    - route:
        - destination:
            host: catalog.shop.svc.cluster.local
            subset: ${version}
`;

/**
 * Each is the good file that would move all traffic to v2, with one fault in it. `^` in the text stands before the place that
 * must be named.
 */
const faults = [
  {
    what: "text that is not YAML",
    code: "yaml",
    text: good("v2")
      .replace("hosts: [catalog.shop.svc.cluster.local]", "hosts: [catalog.shop.svc.cluster.local")
      .replace("  http:", "  ^http:"),
  },
  {
    what: "an unknown kind",
    code: "kind",
    text: good("v2").replace("VirtualService", "^VirtualServise"),
  },
  {
    what: "an unknown field",
    code: "unknown-field",
    text: good("v2").replace("    - route:", "    - ^roote: []\n      route:"),
  },
  {
    what: "a field of Istio's that this release does not act on",
    code: "unsupported",
    text: good("v2").replace(
      "  http:",
      "  tcp: [{ match: [{ port: 1, ^destinationSubnets: [10.0.0.0/8] }], route: [{ destination: { host: catalog } }] }]\n  http:",
    ),
  },
  {
    what: "a kind of Istio's that this release does not act on",
    code: "unsupported",
    text: `${good("v2")}---\napiVersion: networking.istio.io/v1\nkind: ^EnvoyFilter\nmetadata: { name: x, namespace: shop }\nspec: {}\n`,
  },
  {
    what: "a value of the wrong type",
    code: "value",
    text: good("v2").replace("            subset: v2", "            subset: v2\n          weight: ^many"),
  },
  {
    what: "a subset that does not exist",
    code: "reference",
    text: good("v2").replace("subset: v2", "subset: ^v3"),
  },
  {
    what: "a retry policy that contradicts itself",
    code: "value",
    text: `${good("v2")}      retries: ^{ attempts: 0, perTryTimeout: 1s }\n`,
  },
] as const;

let mesh: TestMesh;
let client: Client;

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "services.yaml": documents(serviceEntry("catalog", "shop"), subsets("catalog", "shop", ["v1", "v2"])),
      "security.yaml": authorization(
        "catalog",
        "shop",
        "catalog",
        "DENY",
        `    - to: [{ operation: { paths: [/secret] } }]`,
      ),
      "catalog.yaml": good("v1"),
    },
  });
  [, , client] = await Promise.all([
    mesh.service({ app: "catalog", version: "v1" }),
    mesh.service({ app: "catalog", version: "v2" }),
    mesh.client({ account: "customer" }),
  ]);
  await until("the policy is in force", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/books", count: 20 });
    const { answer } = await client.call("attempt", { url: "http://catalog:8080/secret" });
    return versions["v1"] === 20 && answer?.status === 403;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});

/** Without the advice. */
const errors = async (): Promise<Diagnostic[]> =>
  (await mesh.controlPlane.call("diagnostics")).filter(({ severity }) => severity === "error");

describe.each(faults)("$what", ({ code, text }) => {
  test("is named with file, line and column, changes nothing, and once mended takes effect", async () => {
    const { text: faulty, line, column } = marked(text);
    await mesh.write("catalog.yaml", faulty);
    const fault = await until("the fault is reported", async () =>
      (await errors()).find(({ file }) => file.endsWith("catalog.yaml")),
    );
    expect(fault).toMatchObject({ code, line, column });
    expect(fault.message.length).toBeGreaterThan(10);

    // Where people look: the same finding over HTTP, in the form that terminals make clickable.
    const response = await fetch(`${mesh.controlPlane.httpUrl}/status`);
    expect(await response.text()).toContain(fault.file);

    // Half a second is many times what a good change needs to arrive: the old policy stays in force, all of it.
    const endMs = performance.now() + 500;
    while (performance.now() < endMs) {
      const { versions, failed } = await client.call("burst", { url: "http://catalog:8080/books", count: 20 });
      expect({ versions, failed }).toEqual({ versions: { v1: 20 }, failed: 0 });
      expect((await client.call("call", { url: "http://catalog:8080/secret" })).status).toBe(403);
      await during(50);
    }

    await mesh.write("catalog.yaml", good("v2"));
    await until("the mended file is in force", async () => {
      const { versions } = await client.call("burst", { url: "http://catalog:8080/books", count: 10 });
      return versions["v2"] === 10;
    });
    expect(await errors()).toEqual([]);
    await mesh.write("catalog.yaml", good("v1"));
    await until("back to v1", async () => {
      const { versions } = await client.call("burst", { url: "http://catalog:8080/books", count: 10 });
      return versions["v1"] === 10;
    });
  });
});

test("a fault in one file does not hold back the others for ever", async () => {
  await mesh.write("broken.yaml", "kind: [");
  await until("the fault is reported", async () => (await errors()).some(({ file }) => file.endsWith("broken.yaml")));
  await mesh.remove("broken.yaml");
  await until("the fault went with its file", async () => (await errors()).length === 0);
  await mesh.write("catalog.yaml", good("v2"));
  await until("a later change is in force", async () => {
    const { versions } = await client.call("burst", { url: "http://catalog:8080/books", count: 10 });
    return versions["v2"] === 10;
  });
});

function marked(text: string): { text: string; line: number; column: number } {
  const at = text.indexOf("^");
  const before = text.slice(0, Math.max(at, 0)).split("\n");
  return { text: text.replace("^", ""), line: before.length, column: before.at(-1)!.length + 1 };
}
