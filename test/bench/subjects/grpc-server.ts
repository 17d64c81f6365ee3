import { readFileSync } from "node:fs";
import { type handleBidiStreamingCall, type handleUnaryCall, Server, ServerCredentials } from "@grpc/grpc-js";
import { serveSubject } from "../subject.ts";
import { message, ratings } from "./grpc-service.ts";

/**
 * What a careful team writes without a mesh: a grpc-js server that demands a client certificate. Arguments: folder of the certificates,
 * own service account, number of ports to listen on (each is an endpoint of the mesh).
 */
const [folder = "", own = "", ports = "1"] = process.argv.slice(2);
const credentials = ServerCredentials.createSsl(
  readFileSync(`${folder}/root-cert.pem`),
  [{ cert_chain: readFileSync(`${folder}/${own}.crt`), private_key: readFileSync(`${folder}/${own}.key`) }],
  true,
);
const Get: handleUnaryCall<Buffer, Buffer> = (_call, reply) => reply(null, message);
const Talk: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on("data", () => call.write(message));
  call.on("end", () => call.end());
};
const server = new Server();
server.addService(ratings, { Get, Talk });
const bound: [string, number][] = [];
for (let index = 0; index < Number(ports); index++) {
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, free) => (error === null ? resolve(free) : reject(error)));
  });
  bound.push([index === 0 ? "port" : `port${index}`, port]);
}

await serveSubject({ ready: Object.fromEntries(bound), close: async () => server.forceShutdown() });
