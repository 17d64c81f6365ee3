import http from "node:http";
import { joinMesh } from "trama";
import { agents } from "trama/http";
import { serveSubject } from "../subject.ts";
import { hostOf, serviceCount } from "../world.ts";
import { requestAll } from "./node-client.ts";
import { reach } from "./reach.ts";

/** Node's own client through the mesh, with the configuration of all hundred services loaded. */
const mesh = await joinMesh();
const hostname = hostOf(serviceCount >> 1);
const resources = await reach(mesh, hostname);
const target = { agent: agents(mesh).http, hostname, port: 8080, request: http.request };

await serveSubject({
  ready: { resources },
  run: (requests, inFlight) => requestAll([target], requests, inFlight),
  close: () => mesh.close({ deadlineMs: 5_000 }),
});
