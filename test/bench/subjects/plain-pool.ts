import { readFileSync } from "node:fs";
import type { PeerCertificate } from "node:tls";
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
  const http2 = protocol === "h2";
  return new Pool(origin, {
    // One HTTP/2 connection carries all.
    connections: http2 ? 1 : connections,
    allowH2: http2,
    pipelining: http2 ? connections : 1,
    connect: {
      ca: readFileSync(`${folder}/root-cert.pem`),
      cert: readFileSync(`${folder}/${serviceAccount}.crt`),
      key: readFileSync(`${folder}/${serviceAccount}.key`),
      maxCachedSessions: 0,
      preferH2: http2,
      checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
        certificate.subjectaltname === `URI:${expectedId}` ? undefined : new Error("not the expected SPIFFE id"),
    },
  });
}
