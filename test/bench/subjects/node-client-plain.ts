import { readFileSync } from "node:fs";
import https from "node:https";
import type { PeerCertificate } from "node:tls";
import { spiffeIdOf } from "../pki.ts";
import { serveSubject } from "../subject.ts";
import { requestAll } from "./node-client.ts";
import { connections } from "./plain-pool.ts";

/**
 * What a careful team writes without a mesh, by Node's own client: an agent that keeps connections, mutual TLS, the server's SPIFFE id
 * checked. Arguments as for `client-plain.ts`.
 */
const [folder = "", own = "", server = "", ...ports] = process.argv.slice(2);
const expected = `URI:${spiffeIdOf(server)}`;
const agent = new https.Agent({
  keepAlive: true,
  maxSockets: connections,
  maxCachedSessions: 0,
  ca: readFileSync(`${folder}/root-cert.pem`),
  cert: readFileSync(`${folder}/${own}.crt`),
  key: readFileSync(`${folder}/${own}.key`),
  checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
    certificate.subjectaltname === expected ? undefined : new Error("not the expected SPIFFE id"),
});
const targets = ports.map((port) => ({ agent, hostname: "127.0.0.1", port: Number(port), request: https.request }));

await serveSubject({
  run: (requests, inFlight) => requestAll(targets, requests, inFlight),
  close: () => Promise.resolve(agent.destroy()),
});
