// A client or a server of the mesh on our own SDK over HTTP, with the manners of the programs in the other languages. How it joins is in
// the environment, as for any service.
//
//   http-peer.ts server <name> <ip:port>     answers "<name> <who called>"
//   http-peer.ts client <url> <calls>        a line of JSON for each round of calls, until it is ended

import { joinMesh } from "trama";
import { createServer, peerOf } from "trama/http";

import { oneRound } from "../peers/http-round.ts";

const [role, first = "", second = ""] = process.argv.slice(2);
const mesh = await joinMesh();
mesh.closeOnSignals({ deadlineMs: 1_000 });

if (role === "server") {
  const [address, port] = second.split(":");
  const server = createServer(mesh, (request, response) => {
    response.end(`${first} ${peerOf(request)?.spiffeId ?? "-"}`);
  });
  await new Promise<void>((resolve) => server.listen(Number(port), address, resolve));
  await mesh.ready();
  process.stdout.write('{"ready":true}\n');
} else {
  for (;;) {
    const round = await oneRound(Number(second), async (path) => {
      const response = await mesh.fetch(`${first}${path}`);
      return { status: response.status, body: await response.text() };
    });
    process.stdout.write(`${JSON.stringify(round)}\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
