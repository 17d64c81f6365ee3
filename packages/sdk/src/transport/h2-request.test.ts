import type { ClientHttp2Session } from "node:http2";
import { Duplex } from "node:stream";
import { Attempt } from "@trama/engine";
import { expect, test } from "vitest";

import { makeCall } from "../../../../test/kit/call.ts";
import { cluster, endpoint } from "../../../../test/kit/mesh-config.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import type { H2Connection } from "./h2-connection.ts";
import type { H2Pool } from "./h2-pool.ts";
import { H2Request } from "./h2-request.ts";

test("law 2: data that Node tells of before its head comes after it, and is not lost", async () => {
  const events: string[] = [];
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const sink = new TestSink((event) => void events.push(event));
  const to = endpoint("127.0.0.1:1");
  const pool = { options: { endpoint: to, tls: undefined, peer: "" } } as unknown as H2Pool;
  const connection = { peer: { mtls: true, spiffeId: "" }, streams: 0, ended() {} } as unknown as H2Connection;
  const call = makeCall({ protocol: "grpc" });
  const request = new H2Request(new Attempt(call, cluster("c", { endpoints: [to] }), to, 1), sink, pool);
  request.begin(connection, { request: () => stream } as unknown as ClientHttp2Session);
  request.end();

  // A read of the socket that brought both: the data is pushed at once, the head is told of in the next tick.
  stream.push("message");
  await new Promise(setImmediate);
  stream.emit("response", { ":status": 200 }, 0, [":status", "200"]);
  await new Promise(setImmediate);
  stream.emit("trailers", {}, 0, ["grpc-status", "0"]);
  stream.push(null);
  await sink.done;

  expect(events).toEqual(["head", "data", "end"]);
  expect(sink.breaches).toEqual([]);
});
