import {
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  status,
  type sendUnaryData,
  type ClientReadableStream,
} from "@grpc/grpc-js";

import { peerOf } from "../../../packages/sdk/src/adapters/grpc-peer.ts";
import { grpcServerWorld } from "../../../packages/sdk/test/grpc-server-world.ts";
import { grpcWorld, ReviewsClient } from "../../../packages/sdk/test/grpc-world.ts";
import { settled } from "../../kit/until.ts";
import type {
  Behaviour,
  ClientAdapter,
  ClientUnderTest,
  Ending,
  Reply,
  Request,
  ServedRequest,
  ServerAdapter,
  ServerUnderTest,
} from "./adapter.ts";
import { handedOn, recordOf } from "./record.ts";

type Unary = ServerUnaryCall<string, string>;
type Done = sendUnaryData<string>;

const codeOf: Readonly<Record<Ending, status>> = {
  ok: status.OK,
  denied: status.PERMISSION_DENIED,
  unavailable: status.UNAVAILABLE,
  deadline: status.DEADLINE_EXCEEDED,
  exhausted: status.RESOURCE_EXHAUSTED,
  other: status.UNKNOWN,
};
const serialize = (text: string): Buffer => Buffer.from(text);
const deserialize = (bytes: Buffer): string => bytes.toString();
const paths = ["/shop.Reviews/One", "/shop.Reviews/Two"];
const chunk = "z".repeat(64 * 1024);
const chunks = 500;

function endingOf(code: number): Ending {
  return (Object.keys(codeOf) as Ending[]).find((ending) => codeOf[ending] === (code as status)) ?? "other";
}

function unary(client: InstanceType<typeof ReviewsClient>, request: Request): Promise<Reply> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(request.headers ?? {})) metadata.set(name, value);
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(
      request.path ?? paths[0]!,
      serialize,
      deserialize,
      request.body ?? "-",
      metadata,
      (error: ServiceError | null, text?: string) => {
        if (error === null) resolve({ ending: "ok", text: text!, header: (name) => answered.get(name)[0]?.toString() });
        else
          resolve({
            ending: endingOf(error.code),
            text: error.details,
            error: request.signal?.aborted === true ? request.signal.reason : error,
          });
      },
    );
    let answered = new Metadata();
    call.on("metadata", (found) => (answered = found));
    request.signal?.addEventListener("abort", () => call.cancel(), { once: true });
  });
}

async function bind(server: Server): Promise<string> {
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return `127.0.0.1:${port}`;
}

export const grpcClient: ClientAdapter = {
  name: "grpc-client",
  lacks: {
    "opaque-port": "gRPC calls to one are refused, and told how to declare it",
    "interim-answer": "gRPC has none",
    "trailers-of-the-answer": "every answer of gRPC has them: retry-on-trailing-status reads them",
    head: "gRPC has one method",
    "retry-sends-a-streamed-body-again": "messages are kept for a retry one by one: retry-sends-the-body-again",
    upgrade: "gRPC has none",
  },
  open(scope, config, identity, policy): ClientUnderTest {
    const world = grpcWorld(config, identity, policy);
    scope.defer(() => world.close());
    const client = world.connect();
    return {
      call: (request = {}) => unary(client, request),
      publish: (next) => world.engine.publish(next),
      async readSlowly() {
        let written = 0;
        const server = new Server();
        const handler = (call: ServerWritableStream<string, string>): void => {
          const more = (): void => {
            while (written < chunks) {
              written++;
              if (!call.write(chunk)) return void call.once("drain", more);
            }
            call.end();
          };
          more();
        };
        server.register("/shop.Reviews/List", handler, serialize, deserialize, "serverStream");
        scope.defer(() => server.forceShutdown());
        const stream = (client["List"] as (request: string) => ClientReadableStream<string>).call(
          world.connect(await bind(server)),
          "x",
        );
        const reader = stream[Symbol.asyncIterator]();
        await reader.next();
        const ahead = await settled(() => written);
        let read = 1;
        for (let each = await reader.next(); each.done !== true; each = await reader.next()) read++;
        return { ahead, read, total: chunks };
      },
      get recorded() {
        return world.ended.map(recordOf);
      },
      asked: world.asked,
      get active() {
        return world.engine.active;
      },
    };
  },
  async backend(scope, behaviour: Behaviour) {
    const server = new Server();
    for (const path of paths) {
      const handler = (call: Unary, done: Done): void => {
        const header = (name: string): string => String(call.metadata.get(name)[0] ?? "");
        void Promise.resolve(behaviour({ path, header, authority: call.getHost(), body: call.request })).then(
          ({ ending, text }) => {
            // A scenario that asks for it gets its status behind a head.
            if (header("trailing") !== "") call.sendMetadata(new Metadata());
            const failed = ending === "ok" ? null : { code: codeOf[ending], details: text };
            queueMicrotask(done.bind(undefined, failed, text));
          },
        );
      };
      server.register(path, handler, serialize, deserialize, "unary");
    }
    scope.defer(() => server.forceShutdown());
    return bind(server);
  },
  secured: (scope, identity) => grpcServer.serve(scope, identity),
};

export const grpcServer: ServerAdapter = {
  name: "grpc-server",
  lacks: { "browsers-are-told-what-they-may-read": "browsers cannot call gRPC" },
  client: grpcClient,
  async serve(scope, identity): Promise<ServerUnderTest> {
    const served: ServedRequest[] = [];
    let held: Promise<void> | undefined;
    const world = await grpcServerWorld({}, identity);
    scope.defer(() => world.close());
    const handler = (call: Unary, done: Done): void => {
      served.push({ peer: peerOf(call)?.spiffeId, headers: Object.keys(call.metadata.getMap()), handsOn: handedOn() });
      if (held === undefined) done(null, "served");
      else void held.then(() => queueMicrotask(done.bind(undefined, null, "served")));
    };
    for (const path of paths) world.server.register(path, handler, serialize, deserialize, "unary");
    return {
      address: world.address,
      publish: (mode, filters = []) => world.publish(mode, filters),
      served,
      get recorded() {
        return world.ended.map((call) => ({
          ...recordOf(call),
          status: call.record.status,
          grpcStatus: call.record.grpcStatus,
          flag: call.record.flag,
        }));
      },
      get active() {
        return world.engine.active;
      },
      hold() {
        const { promise, resolve } = Promise.withResolvers<void>();
        held = promise;
        return () => {
          held = undefined;
          resolve();
        };
      },
      stop: (deadlineMs) => world.stop(deadlineMs, 50),
    };
  },
  plain(scope, address, request = {}) {
    // grpc-js shares connections, and the back-off of those that failed.
    const client = new ReviewsClient(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
    scope.defer(() => client.close());
    return unary(client, request);
  },
};
