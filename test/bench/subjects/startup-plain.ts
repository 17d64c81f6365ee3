import type { EventEmitter } from "node:events";
import type { ClientHttp2Session } from "node:http2";

import { serveSubject } from "../subject.ts";

/**
 * What a join takes at the least, by Node's built-in modules alone: to load them, a key, and two calls to the control plane on one connection,
 * one for the certificate and one for the configuration. The control plane refuses both, after it has looked at the token.
 */
const startRss = process.memoryUsage.rss();
const startCpu = process.threadCpuUsage();
process.getBuiltinModule("node:async_hooks");
process.getBuiltinModule("node:dns");
const { readFileSync } = process.getBuiltinModule("node:fs");
const { generateKeyPair, sign, X509Certificate } = process.getBuiltinModule("node:crypto");
const { connect: connectTls, checkServerIdentity } = process.getBuiltinModule("node:tls");
const { connect: connectHttp2 } = process.getBuiltinModule("node:http2");
const importCpu = process.threadCpuUsage(startCpu);

const [host = "", port] = (process.env["TRAMA_CONTROL_PLANE"] ?? "").split(":");
const ca = readFileSync(process.env["TRAMA_ROOT_CERT_FILE"] ?? "", "utf8");
const token = readFileSync(process.env["TRAMA_TOKEN_FILE"] ?? "", "utf8").trim();
const [session] = await Promise.all([connect(), signedRequest()]);
await Promise.all([
  call(session, "/istio.v1.auth.IstioCertificateService/CreateCertificate"),
  call(session, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"),
]);
const certificate = new X509Certificate(ca);
certificate.verify(certificate.publicKey);
const allCpu = process.threadCpuUsage(startCpu);

await serveSubject({
  ready: {
    importCpuMs: (importCpu.user + importCpu.system) / 1_000,
    joinCpuMs: (allCpu.user + allCpu.system - importCpu.user - importCpu.system) / 1_000,
    rssBytes: process.memoryUsage.rss() - startRss,
  },
  close() {
    session.destroy();
    return Promise.resolve();
  },
});

function signedRequest(): Promise<undefined> {
  return new Promise((resolve, reject) => {
    generateKeyPair("ec", { namedCurve: "P-256" }, (error, publicKey, privateKey) => {
      if (error !== null) return reject(error);
      sign("sha256", publicKey.export({ type: "spki", format: "der" }), privateKey);
      privateKey.export({ type: "pkcs8", format: "pem" });
      resolve(undefined);
    });
  });
}

function connect(): Promise<ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host,
      port: Number(port),
      ca,
      servername: "",
      ALPNProtocols: ["h2"],
      checkServerIdentity: (_name, shown) => checkServerIdentity(host, shown),
    });
    fails(socket, reject);
    socket.once("secureConnect", () => {
      const made = connectHttp2("http://control-plane.invalid", { createConnection: () => socket });
      fails(made, reject);
      resolve(made);
    });
  });
}

function call(on: ClientHttp2Session, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const head = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
    const stream = on.request({ ...head, authorization: `Bearer ${token}` });
    fails(stream, reject);
    stream.on("data", () => {});
    stream.on("close", resolve);
    // An empty message.
    stream.end(Buffer.alloc(5));
  });
}

function fails(emitter: EventEmitter, reject: (error: Error) => void): void {
  emitter.on("error", reject);
}
