import { spiffeIdOf } from "../pki.ts";
import { serveSubject } from "../subject.ts";
import { plainPool } from "./plain-pool.ts";
import { requestAll } from "./workers.ts";

/**
 * Arguments: folder of the certificates, own service account, service account of the server, its ports. Several ports are called in
 * turn, each with a Pool of its own: as many sockets are in use as the mesh uses for as many endpoints.
 */
const [folder = "", own = "", server = "", ...ports] = process.argv.slice(2);
const targets = ports.map((port) => {
  const origin = `https://127.0.0.1:${port}`;
  return { origin, dispatcher: plainPool(origin, folder, own, spiffeIdOf(server)) };
});

await serveSubject({
  run: (requests, inFlight) => requestAll(targets, requests, inFlight),
  close: async () => void (await Promise.all(targets.map(({ dispatcher }) => dispatcher.close()))),
});
