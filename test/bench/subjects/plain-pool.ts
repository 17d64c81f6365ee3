import { readFileSync } from "node:fs";
import { connect, type PeerCertificate } from "node:tls";
import { Pool } from "undici";

/** Connections of a pool, and requests in flight in the CPU runs: the transport never queues. */
export const connections = 16;

/**
 * What a careful team writes without a mesh: an undici Pool over HTTP/1.1 keep-alive with mutual TLS, where the server's certificate
 * must carry the expected SPIFFE id. No session resumption, as in the mesh.
 */
export function plainPool(
  origin: string,
  folder: string,
  serviceAccount: string,
  expectedId: string,
  protocol: "http/1.1" | "h2" = "http/1.1",
): Pool {
  const tls = {
    ca: readFileSync(`${folder}/root-cert.pem`),
    cert: readFileSync(`${folder}/${serviceAccount}.crt`),
    key: readFileSync(`${folder}/${serviceAccount}.key`),
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      certificate.subjectaltname === `URI:${expectedId}` ? undefined : new Error("not the expected SPIFFE id"),
  };
  if (protocol === "http/1.1") return new Pool(origin, { connections, connect: { ...tls, maxCachedSessions: 0 } });
  return new Pool(origin, {
    // One HTTP/2 connection carries all.
    connections: 1,
    pipelining: connections,
    allowH2: true,
    // Nothing else is offered: servers of the mesh choose HTTP/1.1 where they can.
    connect({ hostname, port }, done) {
      const socket = connect({ ...tls, host: hostname, port: Number(port), ALPNProtocols: ["h2"] });
      socket.once("secureConnect", () => done(null, socket));
      socket.once("error", (error) => done(error, null));
    },
  });
}
