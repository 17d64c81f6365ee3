// A client or a server of the mesh on @grpc/grpc-js-xds as published: what is tried is its xDS client, its credentials and
// its authorization, so everything else is as small as can be. Messages are bare bytes.
//
//   node peer.mjs server <name> <ip:port>     answers "<name> <who called>"
//   node peer.mjs client <target> <calls>     a line of JSON for each round of calls, until it is ended

import * as grpc from "@grpc/grpc-js";
import * as xds from "@grpc/grpc-js-xds";

xds.register();
const [role, first, second] = process.argv.slice(2);
const bytes = (value) => value;
const method = (name) => ({
  path: `/demo.Echo/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

if (role === "server") await serve(first, second);
else await call(first, Number(second));

async function serve(name, address) {
  const server = new xds.XdsServer();
  const answer = (request, callback) => callback(null, Buffer.from(`${name} ${caller(request)}`));
  server.addService({ Say: method("Say"), Secret: method("Secret") }, { Say: answer, Secret: answer });
  // Plaintext is only what a Listener without TLS asks for; one with TLS is never served without.
  const credentials = new xds.XdsServerCredentials(grpc.ServerCredentials.createInsecure());
  await new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

function caller(request) {
  const certificate = request.getAuthContext().sslPeerCertificate;
  return certificate?.subjectaltname?.replace(/^URI:/, "") ?? "-";
}

async function call(target, calls) {
  const client = new grpc.Client(target, new xds.XdsChannelCredentials(grpc.credentials.createInsecure()));
  const attempt = (name) =>
    new Promise((resolve) => {
      const { path } = method(name);
      const deadline = Date.now() + 2_000;
      client.makeUnaryRequest(path, bytes, bytes, Buffer.from("hello"), { deadline }, (error, reply) => {
        resolve(error === null ? { reply: String(reply) } : { error: `${grpc.status[error.code]}: ${error.details}` });
      });
    });
  for (;;) {
    const say = {};
    const errors = {};
    for (let n = 0; n < calls; n++) {
      const { reply, error } = await attempt("Say");
      if (error === undefined) say[reply] = (say[reply] ?? 0) + 1;
      else errors[error] = (errors[error] ?? 0) + 1;
    }
    const { reply, error } = await attempt("Secret");
    process.stdout.write(`${JSON.stringify({ say, errors, secret: error ?? reply })}\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
