// A client or a server of the mesh on our own SDK over gRPC, with the manners of the programs in the other languages. How it joins is in
// the environment, as for any service.
//
//   grpc-peer.ts server <name> <ip:port>     answers "<name> <who called>"
//   grpc-peer.ts client <target> <calls>     a line of JSON for each round of calls, until it is ended

import { Client, credentials, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { joinMesh } from "trama";
import { meshClientOptions, peerOf, protectGrpc } from "trama/grpc";

import { echo, echoService } from "./echo-service.ts";

const [role, first = "", second = ""] = process.argv.slice(2);
const mesh = await joinMesh();
mesh.closeOnSignals({ deadlineMs: 1_000 });

if (role === "server") {
  const server = protectGrpc(mesh, new Server());
  server.addService(
    echoService,
    echo(first, (call) => peerOf(call)?.spiffeId),
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(second, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
} else {
  const client = new Client(first, credentials.createInsecure(), meshClientOptions(mesh));
  for (;;) {
    const say: Record<string, number> = {};
    const errors: Record<string, number> = {};
    for (let n = 0; n < Number(second); n++) {
      const { reply, error } = await call(client, "Say");
      if (reply === undefined) errors[error ?? ""] = (errors[error ?? ""] ?? 0) + 1;
      else say[reply] = (say[reply] ?? 0) + 1;
    }
    const { reply, error } = await call(client, "Secret");
    process.stdout.write(`${JSON.stringify({ say, errors, secret: error ?? reply })}\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function call(client: Client, name: keyof typeof echoService): Promise<{ reply?: string; error?: string }> {
  const { path, requestSerialize, responseDeserialize } = echoService[name];
  return new Promise((resolve) => {
    const deadline = Date.now() + 2_000;
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      Buffer.from("hello"),
      { deadline },
      (error: ServiceError | null, reply) =>
        resolve(error === null ? { reply: String(reply) } : { error: `${status[error.code]}: ${error.details}` }),
    );
  });
}
