import { createServer } from "trama/http";
import { joinMesh } from "trama";
import type { AddressInfo } from "node:net";
import { report } from "./report.ts";

/** The catalog of one region. The demo can make it slow: `{ kind: "late", ms }`. */
const region = process.argv[2] ?? "nowhere";
let lateMs = 0;
process.on("message", (message: { kind: string; ms?: number }) => {
  if (message.kind === "late") lateMs = message.ms ?? 0;
});

const mesh = await joinMesh();
mesh.closeOnSignals();
const server = createServer(mesh, (_request, response) => {
  const answer = (): void => void response.setHeader("x-region", region).end(region);
  if (lateMs === 0) answer();
  else setTimeout(answer, lateMs);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await mesh.ready();
await report(mesh, (server.address() as AddressInfo).port);
