import { spiffeIdOf } from "../pki.ts";
import { serveSubject } from "../subject.ts";
import { plainPool } from "./plain-pool.ts";
import { requestAll } from "./workers.ts";

/** Arguments: folder of the certificates, own service account, service account of the server, its port. */
const [folder = "", own = "", server = "", port = ""] = process.argv.slice(2);
const origin = `https://127.0.0.1:${port}`;
const pool = plainPool(origin, folder, own, spiffeIdOf(server));

await serveSubject({
  run: (requests, inFlight) => requestAll(pool, origin, requests, inFlight),
  close: () => pool.close(),
});
