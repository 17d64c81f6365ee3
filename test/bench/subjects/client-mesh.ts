import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { hostOf, routesEach, serviceCount } from "../world.ts";
import { paths, requestAll } from "./workers.ts";

/** Joins by its environment. The calls go to one service; the configuration of all hundred is loaded first. */
const mesh = await joinMesh();
const originOf = (service: number): string => `http://${hostOf(service)}:8080`;
for (let service = 0; service < serviceCount; service++) await reach(originOf(service));

const { resources } = mesh.status();
if (paths.length !== routesEach) throw new Error("the requests must use one path a route");
const target = { dispatcher: mesh.dispatcher, origin: originOf(serviceCount >> 1) };

await serveSubject({
  ready: { resources: resources.length },
  run: (requests, inFlight) => requestAll([target], requests, inFlight),
  close: () => mesh.close({ deadlineMs: 5_000 }),
});

/** The control plane may not have read the folder yet. */
async function reach(origin: string): Promise<void> {
  const endMs = performance.now() + 15_000;
  for (;;) {
    try {
      return await requestAll([{ dispatcher: mesh.dispatcher, origin }], 1, 1);
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
