import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import type { ServerTls } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, type TestCertificate } from "../../../test/kit/certs.ts";
import { fakeClock } from "../../../test/kit/clock.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { ServerContexts } from "../src/transport/server-tls.ts";
import { clientWorld } from "./client-world.ts";

// TLS with servers outside of the mesh (DestinationRule tls SIMPLE and MUTUAL), against a real one.

let noLeaks: () => Promise<void>;
let folder: string;
const root = makeCertificate("root");
const closers: (() => unknown)[] = [];
beforeAll(() => {
  noLeaks = leakCheck();
  folder = mkdtempSync(join(tmpdir(), "trama-server-tls-"));
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await noLeaks();
});

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Answers with the name in the client's certificate, or `nobody`. */
async function serve(certificate: TestCertificate): Promise<string> {
  const server = https.createServer(
    {
      key: certificate.keyPem,
      cert: certificate.certPem,
      ca: root.certPem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (incoming, response) => {
      const { subject } = (incoming.socket as TLSSocket).getPeerCertificate();
      response.end([subject?.CN ?? "nobody", incoming.headers["x-trama-peer"] ?? []].flat(2).join(" "));
    },
  );
  server.on("tlsClientError", () => {});
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const plain: ServerTls = {
  kind: "server",
  certificate: undefined,
  roots: "system",
  crlFile: undefined,
  serverName: "api.example.com",
  names: [{ kind: "dns", value: "api.example.com" }],
};

async function call(address: string, tls: ServerTls): Promise<string> {
  const world = clientWorld(
    meshConfig({
      outbound: [listener("api.example.com:443", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(address)], tls, connectTimeoutMs: 2_000 })],
    }),
    { current: undefined },
  );
  closers.push(() => world.close());
  const { body } = await request("https://api.example.com/", { dispatcher: world.dispatcher });
  return body.text();
}

const leaf = (dnsNames: readonly string[]): TestCertificate => makeCertificate("server", { issuer: root, dnsNames });

test("a server is verified by the roots of a file and by its name; the mesh's own identity and peer header are not shown", async () => {
  const roots = { file: write("root.pem", root.certPem) };
  expect(await call(await serve(leaf(["api.example.com"])), { ...plain, roots })).toBe("nobody");
  expect(await call(await serve(leaf(["*.example.com"])), { ...plain, roots })).toBe("nobody");
});

test("whoever is not vouched for, or is somebody else, gets no request", async () => {
  const roots = { file: write("root.pem", root.certPem) };
  const refused = { code: "TLS_FAILED", sent: false };
  // The machine's roots do not know this one.
  await expect(call(await serve(leaf(["api.example.com"])), plain)).rejects.toMatchObject(refused);
  await expect(call(await serve(leaf(["other.example.com"])), { ...plain, roots })).rejects.toThrow(
    "is for DNS:other.example.com, and not for api.example.com",
  );
  // A common name is no name of a server.
  const named = makeCertificate("api.example.com", { issuer: root });
  await expect(call(await serve(named), { ...plain, roots })).rejects.toMatchObject(refused);
});

test("other names may stand for the server: URI and IP", async () => {
  const roots = { file: write("root.pem", root.certPem) };
  const address = await serve(
    makeCertificate("server", { issuer: root, uris: ["spiffe://x/ns/a/sa/b"], ipv4: ["10.0.0.1"] }),
  );
  const of = (kind: "uri" | "ip", value: string): ServerTls => ({ ...plain, roots, names: [{ kind, value }] });
  expect(await call(address, of("uri", "spiffe://x/ns/a/sa/b"))).toBe("nobody");
  expect(await call(address, of("ip", "10.0.0.1"))).toBe("nobody");
  await expect(call(address, of("uri", "spiffe://x/ns/a/sa"))).rejects.toMatchObject({ code: "TLS_FAILED" });
  await expect(call(address, of("ip", "10.0.0.2"))).rejects.toMatchObject({ code: "TLS_FAILED" });
});

test("a certificate of its own is shown where the policy says so; without verification anybody will do", async () => {
  const own = makeCertificate("client", { issuer: root });
  const certificate = { chainFile: write("tls.crt", own.certPem), keyFile: write("tls.key", own.keyPem) };
  const stranger = await serve(makeCertificate("somebody"));
  expect(await call(stranger, { ...plain, roots: "none", names: [], certificate })).toBe("client");
});

test("files that are missing or broken fail closed, and say which", async () => {
  const address = await serve(leaf(["api.example.com"]));
  const missing = { file: join(folder, "nowhere.pem") };
  await expect(call(address, { ...plain, roots: missing })).rejects.toThrow("nowhere.pem");
  const roots = { file: write("root.pem", root.certPem) };
  const crlFile = write("ca.crl", "no revocation list");
  await expect(call(address, { ...plain, roots, crlFile })).rejects.toMatchObject({ code: "TLS_FAILED", sent: false });
});

test("changed files are read again after ten seconds; a torn pair leaves the last good one (R52)", () => {
  const clock = fakeClock();
  const contexts = new ServerContexts(clock);
  const [first, second] = [makeCertificate("one"), makeCertificate("two")];
  const certificate = { chainFile: write("c.crt", first.certPem), keyFile: write("c.key", first.keyPem) };
  const tls: ServerTls = { ...plain, certificate };
  const before = contexts.of(tls);
  write("c.crt", `${second.certPem}\n`);
  expect(contexts.of(tls)).toBe(before);
  clock.advance(10_000);
  // The new certificate beside the old key.
  expect(contexts.of(tls)).toBe(before);
  write("c.key", `${second.keyPem}\n`);
  clock.advance(10_000);
  const after = contexts.of(tls);
  expect(after).not.toBe(before);
  clock.advance(10_000);
  expect(contexts.of(tls)).toBe(after);
});
