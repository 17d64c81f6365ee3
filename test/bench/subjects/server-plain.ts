import { readFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { serveSubject } from "../subject.ts";
import { handler } from "./handler.ts";

/**
 * What a careful team writes without a mesh: `node:https` that demands a client certificate. Arguments: folder of the certificates, own
 * service account, number of ports to listen on (each is an endpoint of the mesh).
 */
const [folder = "", own = "", ports = "1"] = process.argv.slice(2);
const servers = Array.from({ length: Number(ports) }, () =>
  https.createServer(
    {
      ca: readFileSync(`${folder}/root-cert.pem`),
      cert: readFileSync(`${folder}/${own}.crt`),
      key: readFileSync(`${folder}/${own}.key`),
      requestCert: true,
      rejectUnauthorized: true,
      keepAliveTimeout: 60_000,
    },
    handler,
  ),
);
for (const server of servers) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const bound = servers.map((server, index): [string, number] => [
  index === 0 ? "port" : `port${index}`,
  (server.address() as AddressInfo).port,
]);

await serveSubject({
  ready: Object.fromEntries(bound),
  async close() {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  },
});
