// A client or a server of the mesh on our own SDK, over connections of which nobody reads anything. How it joins is in the environment, as
// for any service.
//
//   tcp-peer.ts server <name> <ip:port>       waits for a line, answers one, "<name> <who connected>", and ends
//   tcp-peer.ts client <host:port> <calls>    a line of JSON for each round of connections, until it is ended

import { createServer } from "node:net";

import { joinMesh } from "trama";
import { peerOf } from "trama/tcp";

import { exchange, oneRound } from "../peers/tcp-round.ts";

const [role, first = "", second = ""] = process.argv.slice(2);
const mesh = await joinMesh();
mesh.closeOnSignals({ deadlineMs: 1_000 });

if (role === "server") {
  const [address, port] = second.split(":");
  const server = mesh.protect(
    createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(`${first} ${peerOf(socket)?.spiffeId ?? "-"}\n`));
    }),
  );
  await new Promise<void>((resolve) => server.listen(Number(port), address, resolve));
  await mesh.ready();
  process.stdout.write('{"ready":true}\n');
} else {
  const [host = "", port] = first.split(":");
  for (;;) {
    const round = await oneRound(Number(second), async () =>
      exchange(await mesh.connect({ host, port: Number(port) })),
    );
    process.stdout.write(`${JSON.stringify(round)}\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
