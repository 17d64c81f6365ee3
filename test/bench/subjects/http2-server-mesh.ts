import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { http2Handler } from "./handler.ts";

/** `server-mesh.ts` by a server of `node:http2`. */
const mesh = await joinMesh({ drainMs: 0 });
const server = mesh.protect(createServer(http2Handler));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await mesh.ready();

await serveSubject({
  ready: { port: (server.address() as AddressInfo).port },
  close: () => mesh.close({ deadlineMs: 5_000 }),
});
