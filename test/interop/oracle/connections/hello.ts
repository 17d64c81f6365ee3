import { Duplex } from "node:stream";
import { connect } from "node:tls";

import type { Hello } from "./cases.ts";

/** The very first bytes of a connection. Nobody here answers a handshake: what they say decides where they go. */
export async function bytesOf(hello: Hello): Promise<Buffer> {
  if (hello.kind === "plain") return Buffer.from("PLAIN and nothing else\n");
  const said = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      done();
      said.resolve(chunk);
    },
  });
  const client = connect({ socket: wire, servername: hello.serverName });
  client.on("error", () => {});
  const bytes = await said.promise;
  client.destroy();
  return bytes;
}
