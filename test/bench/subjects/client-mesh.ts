import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { hostOf, serviceCount } from "../world.ts";
import { reach } from "./reach.ts";
import { requestAll } from "./workers.ts";

/**
 * Joins by its environment. The calls go to one service, of the hundred or the one that the argument names; the configuration of all
 * hundred is loaded first.
 */
const [host = hostOf(serviceCount >> 1)] = process.argv.slice(2);
const mesh = await joinMesh();
const resources = await reach(mesh, host);
const target = { dispatcher: mesh.dispatcher, origin: `http://${host}:8080` };

await serveSubject({
  ready: { resources },
  run: (requests, inFlight) => requestAll([target], requests, inFlight),
  close: () => mesh.close({ deadlineMs: 5_000 }),
});
