import http from "node:http";
import type { AddressInfo } from "node:net";
import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { handler } from "./handler.ts";

/** Joins by its environment, with the labels that the policies of `world.ts` select. */
const mesh = await joinMesh({ drainMs: 0 });
const server = mesh.protect(http.createServer({ keepAliveTimeout: 60_000 }, handler));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await mesh.ready();

await serveSubject({
  ready: { port: (server.address() as AddressInfo).port },
  close: () => mesh.close({ deadlineMs: 5_000 }),
});
