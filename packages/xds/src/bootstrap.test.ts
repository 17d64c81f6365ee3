import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, expect, test } from "vitest";

import { parseBootstrap } from "./bootstrap-parse.ts";
import { type BootstrapOptions, bootstrapFor } from "./bootstrap-short.ts";
import { bootstrapSource, readBootstrap } from "./bootstrap-source.ts";
import { XdsError } from "./errors.ts";
import { protoNode } from "./node.ts";

const folder = mkdtempSync(join(tmpdir(), "trama-bootstrap-"));
afterAll(() => rmSync(folder, { recursive: true }));

const minimal = { xds_servers: [{ server_uri: "localhost:1", channel_creds: [{ type: "insecure" }] }] };

function fault(run: () => unknown): XdsError {
  try {
    run();
  } catch (error) {
    if (error instanceof XdsError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** What Istio's agent writes beside the application (template `grpc-agent`). */
const istioAgent = {
  xds_servers: [
    {
      server_uri: "unix:///etc/istio/proxy/XDS",
      channel_creds: [{ type: "insecure" }],
      server_features: ["xds_v3"],
    },
  ],
  node: {
    id: "sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local",
    metadata: { GENERATOR: "grpc", NAMESPACE: "ns", INSTANCE_IPS: "10.0.0.1" },
    locality: {},
    UserAgentVersionType: null,
  },
  certificate_providers: {
    default: {
      plugin_name: "file_watcher",
      config: {
        certificate_file: "/var/lib/istio/data/cert-chain.pem",
        private_key_file: "/var/lib/istio/data/key.pem",
        ca_certificate_file: "/var/lib/istio/data/root-cert.pem",
        refresh_interval: "900s",
      },
    },
  },
  server_listener_resource_name_template: "xds.istio.io/grpc/lds/inbound/%s",
};

test("a file as Istio's injector writes it works as it is", () => {
  const bootstrap = parseBootstrap(istioAgent);
  expect(bootstrap.servers[0]).toMatchObject({ uri: "unix:///etc/istio/proxy/XDS", channel: { kind: "insecure" } });
  expect(bootstrap.certificateProviders.get("default")).toMatchObject({
    kind: "file_watcher",
    refreshIntervalMs: 900_000,
  });
  expect(bootstrap.serverListenerTemplate).toBe("xds.istio.io/grpc/lds/inbound/%s");
  expect(bootstrap.clientListenerTemplate).toBe("%s");
  expect(protoNode(bootstrap.node)).toMatchObject({
    id: "sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local",
    userAgentName: "trama",
    metadata: { GENERATOR: "grpc", NAMESPACE: "ns", TRAMA_VERSION: "0.1.0" },
  });
});

test("the smallest file: unknown fields, words and plug-ins are passed over (BS2, BS6, BS7, BS8)", () => {
  const bootstrap = parseBootstrap({
    ...minimal,
    xds_servers: [{ ...minimal.xds_servers[0], server_features: ["made_up", "fail_on_data_errors"], other: 1 }],
    certificate_providers: { hsm: { plugin_name: "made_up" } },
    something_new: {},
  });
  expect([...bootstrap.servers[0].features]).toEqual(["fail_on_data_errors"]);
  expect(bootstrap.certificateProviders.get("hsm")).toEqual({ kind: "unsupported", plugin: "made_up" });
  expect(bootstrap.node).toEqual({ id: "", cluster: "", locality: undefined, metadata: {} });
  expect(bootstrap.serverListenerTemplate).toBeUndefined();
});

test("the first credentials that are supported win; a token goes with TLS (BS4, BS5)", () => {
  const creds = {
    server_uri: "dns:///istiod:15012",
    channel_creds: [
      { type: "google_default" },
      { type: "tls", config: { ca_certificate_file: "/ca.pem", refresh_interval: "60s" } },
      { type: "insecure" },
    ],
    call_creds: [{ type: "made_up" }, { type: "jwt_token_file", config: { jwt_token_file: "/token" } }],
  };
  const [server] = parseBootstrap({ xds_servers: [creds] }).servers;
  expect(server.channel).toMatchObject({ kind: "tls", roots: { file: "/ca.pem" } });
  expect(server.call).toEqual([{ kind: "token_file", file: "/token" }]);
  const insecure = { ...creds, channel_creds: [{ type: "insecure" }] };
  expect(fault(() => parseBootstrap({ xds_servers: [insecure] })).field).toBe("xds_servers[0].call_creds");
});

test("authorities (BS12)", () => {
  const bootstrap = parseBootstrap({ ...minimal, authorities: { a: {}, b: { xds_servers: minimal.xds_servers } } });
  expect(bootstrap.authorities.get("a")).toMatchObject({
    servers: [],
    clientListenerTemplate: "xdstp://a/envoy.config.listener.v3.Listener/%s",
  });
  const foreign = { a: { client_listener_resource_name_template: "xdstp://b/x/%s" } };
  expect(fault(() => parseBootstrap({ ...minimal, authorities: foreign })).field).toBe(
    "authorities.a.client_listener_resource_name_template",
  );
});

test.each<[string, unknown]>([
  ["the bootstrap", []],
  ["xds_servers", {}],
  ["xds_servers", { xds_servers: [] }],
  ["xds_servers", { xds_servers: "x" }],
  ["xds_servers[0].server_uri", { xds_servers: [{ channel_creds: [{ type: "insecure" }] }] }],
  ["xds_servers[0].server_uri", { xds_servers: [{ server_uri: "xds:///x", channel_creds: [{ type: "insecure" }] }] }],
  ["xds_servers[0].channel_creds", { xds_servers: [{ server_uri: "x:1" }] }],
  ["xds_servers[0].channel_creds", { xds_servers: [{ server_uri: "x:1", channel_creds: [{ type: "alts" }] }] }],
  [
    "xds_servers[0].channel_creds[0].config.private_key_file",
    { xds_servers: [{ server_uri: "x:1", channel_creds: [{ type: "tls", config: { certificate_file: "c" } }] }] },
  ],
  ["node.id", { ...minimal, node: { id: 7 } }],
  ["node.metadata", { ...minimal, node: { metadata: [] } }],
  ["certificate_providers.d.plugin_name", { ...minimal, certificate_providers: { d: {} } }],
  [
    "certificate_providers.d.config.refresh_interval",
    {
      ...minimal,
      certificate_providers: {
        d: { plugin_name: "file_watcher", config: { ca_certificate_file: "x", refresh_interval: "soon" } },
      },
    },
  ],
])("a fault names its field: %s (BS15)", (field, json) => {
  const error = fault(() => parseBootstrap(json));
  expect(error.code).toBe("BOOTSTRAP_INVALID");
  expect(error.field).toBe(field);
  expect(error.message).toMatch(/^bootstrap: .+\. .+/);
});

test("the environment: the first variable that is set decides, even when it is broken (BS1)", () => {
  const file = join(folder, "bootstrap.json");
  writeFileSync(file, JSON.stringify(minimal));
  const text = JSON.stringify(istioAgent);
  expect(bootstrapSource({})).toBeUndefined();
  expect(bootstrapSource({ GRPC_XDS_BOOTSTRAP_CONFIG: text })).toEqual({ text });
  const both = bootstrapSource({ GRPC_XDS_BOOTSTRAP: file, GRPC_XDS_BOOTSTRAP_CONFIG: text });
  expect(both).toEqual({ file });
  expect(readBootstrap({ file }).servers[0].uri).toBe("localhost:1");
  const missing = fault(() => readBootstrap({ file: join(folder, "none.json") }));
  expect(missing).toMatchObject({ code: "BOOTSTRAP_INVALID", field: join(folder, "none.json") });
  expect(fault(() => readBootstrap({ text: "{" })).message).toContain("is not JSON");
});

const short: BootstrapOptions = {
  controlPlane: "localhost:15012",
  rootCertFile: "/root.pem",
  token: "abc",
  namespace: "shop",
  serviceAccount: "storefront",
  workload: "storefront-1",
  labels: { app: "storefront" },
};

test("the network of a workload is its label, and Istio reads it under a name of its own", () => {
  const labels = { "topology.istio.io/network": "west" };
  expect(bootstrapFor({ ...short, labels }).node.metadata).toMatchObject({ NETWORK: "west", LABELS: labels });
  expect(bootstrapFor(short).node.metadata).not.toHaveProperty("NETWORK");
});

test("the short form makes the same thing as a file, TLS always (I10, I12)", () => {
  const bootstrap = bootstrapFor({ ...short, serverName: "istiod.istio-system.svc", ip: "10.1.2.3" });
  expect(bootstrap.node).toMatchObject({
    id: "sidecar~10.1.2.3~storefront-1.shop~shop.svc.cluster.local",
    metadata: {
      GENERATOR: "grpc",
      NAMESPACE: "shop",
      SERVICE_ACCOUNT: "storefront",
      WORKLOAD_NAME: "storefront-1",
      CLUSTER_ID: "Kubernetes",
      INSTANCE_IPS: "10.1.2.3",
      LABELS: { app: "storefront" },
    },
  });
  expect(bootstrap.servers[0].channel).toEqual({
    kind: "tls",
    roots: { file: "/root.pem" },
    certificate: undefined,
    serverName: "istiod.istio-system.svc",
  });
  expect(bootstrap.servers[0].call).toMatchObject([{ kind: "token" }]);
  expect([...bootstrap.certificateProviders.keys()]).toEqual(["default"]);
});

test.each<[string, Partial<BootstrapOptions>]>([
  ["controlPlane", { controlPlane: "localhost" }],
  ["controlPlane", { controlPlane: "" }],
  ["controlPlane", { controlPlane: "::1:15012" }],
  ["rootCertFile", { rootCertFile: undefined }],
  ["rootCertPem", { rootCertPem: "x" }],
  ["rootCertPem", { rootCertFile: undefined, rootCertPem: "not a certificate" }],
  ["namespace", { namespace: "" }],
  ["serviceAccount", { serviceAccount: "" }],
  ["workload", { workload: "" }],
  ["ip", { ip: "[::1]" }],
  ["token", { tokenFile: "/x" }],
  ["token", { token: "" }],
])("the short form names the option that is wrong: %s", (field, change) => {
  const error = fault(() => bootstrapFor({ ...short, ...change }));
  expect(error).toMatchObject({ code: "BOOTSTRAP_INVALID", field });
});
