import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { hostOf, routesEach, serviceCount } from "../world.ts";
import { paths, requestAll } from "./workers.ts";

/** Joins by its environment. The calls go to one service; the configuration of all hundred is loaded first. */
const mesh = await joinMesh();
await mesh.ready();
const originOf = (service: number): string => `http://${hostOf(service)}:8080`;
for (let service = 0; service < serviceCount; service++) await requestAll(mesh.dispatcher, originOf(service), 1, 1);

if (paths.length !== routesEach) throw new Error("one path a route");
const origin = originOf(serviceCount >> 1);

await serveSubject({
  ready: { resources: mesh.status().resources.length },
  run: (requests, inFlight) => requestAll(mesh.dispatcher, origin, requests, inFlight),
  close: () => mesh.close({ deadlineMs: 5_000 }),
});
