import { readFileSync } from "node:fs";
import type { PeerCertificate } from "node:tls";
import { Client, credentials } from "@grpc/grpc-js";
import { spiffeIdOf } from "../pki.ts";
import { serveClients } from "./grpc-load.ts";
import type { CallKind } from "./grpc-service.ts";

/**
 * What a careful team writes without a mesh: a grpc-js client for each address, with mutual TLS, where the server's certificate must
 * carry the expected SPIFFE id. Arguments: kind of call, folder of the certificates, own service account, the server's, its ports.
 */
const [kind = "unary", folder = "", own = "", server = "", ...ports] = process.argv.slice(2);
const expected = `URI:${spiffeIdOf(server)}`;
const secure = credentials.createSsl(
  readFileSync(`${folder}/root-cert.pem`),
  readFileSync(`${folder}/${own}.key`),
  readFileSync(`${folder}/${own}.crt`),
  {
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      certificate.subjectaltname === expected ? undefined : new Error("not the expected SPIFFE id"),
  },
);
// An address is no server name (RFC 6066); without this Node warns of it.
const options = { "grpc.ssl_target_name_override": "ratings.invalid" };
const clients = ports.map((port) => new Client(`127.0.0.1:${port}`, secure, options));

await serveClients(clients, kind as CallKind);
