import { spiffeIdOf } from "../pki.ts";
import { serveSubject } from "../subject.ts";
import { plainPool } from "./plain-pool.ts";
import { requestAll } from "./workers.ts";

/** `client-plain.ts` over HTTP/2: one connection to each port. */
const [folder = "", own = "", server = "", ...ports] = process.argv.slice(2);
const targets = ports.map((port) => {
  const origin = `https://127.0.0.1:${port}`;
  return { origin, dispatcher: plainPool(origin, folder, own, spiffeIdOf(server), "h2") };
});

await serveSubject({
  run: (requests, inFlight) => requestAll(targets, requests, inFlight),
  close: async () => void (await Promise.all(targets.map(({ dispatcher }) => dispatcher.close()))),
});
