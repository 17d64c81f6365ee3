import { type Client, type ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import { serveSubject } from "../subject.ts";
import { type CallKind, message, ratings, streamMessages } from "./grpc-service.ts";

const metadata = new Metadata();
metadata.set("x-request-id", "8f1c2a8e-5f0e-4a53-9d5e");
const deadlineMs = 30_000;

/** Serves a client of the benchmark, by whatever library it was made. Several clients are called in turn. */
export async function serveClients(
  clients: readonly Client[],
  kind: CallKind,
  end?: () => Promise<void>,
): Promise<void> {
  const call = kind === "unary" ? unary : stream;
  const run = (calls: number, inFlight: number): Promise<void> => callAll(clients, call, calls, inFlight);
  await reach(() => run(clients.length, 1));
  await serveSubject({
    run,
    async close() {
      for (const client of clients) client.close();
      await end?.();
    },
  });
}

/** The application's own part of each call, the same for every subject. */
async function callAll(
  clients: readonly Client[],
  call: (client: Client) => Promise<void>,
  calls: number,
  inFlight: number,
): Promise<void> {
  let left = calls;
  const loop = async (): Promise<void> => {
    while (left-- > 0) await call(clients[left % clients.length]!);
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, calls) }, loop));
}

function unary(client: Client): Promise<void> {
  const { path, requestSerialize, responseDeserialize } = ratings.Get;
  const options = { deadline: Date.now() + deadlineMs };
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      message,
      metadata,
      options,
      (error, answer) => {
        if (error !== null) reject(error);
        else if (answer?.length === message.length) resolve();
        else reject(new Error(`expected ${message.length} bytes, got ${answer?.length}`));
      },
    );
  });
}

function stream(client: Client): Promise<void> {
  const { path, requestSerialize, responseDeserialize } = ratings.Talk;
  const options = { deadline: Date.now() + deadlineMs };
  return new Promise((resolve, reject) => {
    const call: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      options,
    );
    let received = 0;
    call.on("data", () => received++);
    call.on("error", reject);
    call.on("end", () => {
      if (received === streamMessages) resolve();
      else reject(new Error(`expected ${streamMessages} messages, got ${received}`));
    });
    for (let sent = 0; sent < streamMessages; sent++) call.write(message);
    call.end();
  });
}

/** The control plane may not have read the folder yet. */
async function reach(attempt: () => Promise<void>): Promise<void> {
  const endMs = performance.now() + 15_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
