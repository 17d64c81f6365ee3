import { readFileSync } from "node:fs";
import { createSecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { serveSubject } from "../subject.ts";
import { http2Handler } from "./handler.ts";

/** `server-plain.ts` by `node:http2`. Arguments: folder of the certificates, own service account, number of ports. */
const [folder = "", own = "", ports = "1"] = process.argv.slice(2);
const sessions = new Set<ServerHttp2Session>();
const servers = Array.from({ length: Number(ports) }, () =>
  createSecureServer(
    {
      ca: readFileSync(`${folder}/root-cert.pem`),
      cert: readFileSync(`${folder}/${own}.crt`),
      key: readFileSync(`${folder}/${own}.key`),
      requestCert: true,
      rejectUnauthorized: true,
    },
    http2Handler,
  ).on("session", (session) => sessions.add(session)),
);
for (const server of servers) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const bound = servers.map((server, index): [string, number] => [
  index === 0 ? "port" : `port${index}`,
  (server.address() as AddressInfo).port,
]);

await serveSubject({
  ready: Object.fromEntries(bound),
  async close() {
    for (const server of servers) server.close();
    for (const session of sessions) session.destroy();
  },
});
