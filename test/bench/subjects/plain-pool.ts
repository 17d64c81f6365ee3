import { readFileSync } from "node:fs";
import type { PeerCertificate } from "node:tls";
import { Pool } from "undici";

/** Connections of a pool, and requests in flight in the CPU runs: the transport never queues. */
export const connections = 16;

/**
 * What a careful team writes without a mesh: an undici Pool over HTTP/1.1 keep-alive with mutual TLS, where the server's certificate
 * must carry the expected SPIFFE id. No session resumption, as in the mesh.
 */
export function plainPool(origin: string, folder: string, serviceAccount: string, expectedId: string): Pool {
  return new Pool(origin, {
    connections,
    connect: {
      ca: readFileSync(`${folder}/root-cert.pem`),
      cert: readFileSync(`${folder}/${serviceAccount}.crt`),
      key: readFileSync(`${folder}/${serviceAccount}.key`),
      maxCachedSessions: 0,
      checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
        certificate.subjectaltname === `URI:${expectedId}` ? undefined : new Error("not the expected SPIFFE id"),
    },
  });
}
