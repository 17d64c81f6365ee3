import { Client, credentials } from "@grpc/grpc-js";
import { register, XdsChannelCredentials } from "@grpc/grpc-js-xds";
import { serveSubject } from "../subject.ts";
import { bigHost, ratingsHost } from "../world.ts";
import { message, ratings } from "./grpc-service.ts";
import { watchTurns } from "./turns.ts";

/** The same of gRPC's own xDS client. It tells nobody which version it holds, so it is watched for as long as a change takes. */
register();
const clients: Client[] = [];
await call(ratingsHost, 5_000);

await serveSubject({
  async figures(step) {
    const stop = watchTurns();
    if (step === "arrive") await call(`${bigHost}:9000`, 6_000);
    else await new Promise((resolve) => setTimeout(resolve, 6_000));
    return stop();
  },
  async close() {
    for (const client of clients) client.close();
  },
});

/** Nobody listens at the endpoints of the large one. */
function call(host: string, deadlineMs: number): Promise<void> {
  const client = new Client(`xds:///${host}`, new XdsChannelCredentials(credentials.createInsecure()));
  clients.push(client);
  const { path, requestSerialize, responseDeserialize } = ratings.Get;
  const options = { deadline: Date.now() + deadlineMs };
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, options, () => resolve());
  });
}
