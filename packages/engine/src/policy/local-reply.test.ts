import { expect, test } from "vitest";
import { makeCall, Recorder } from "../../test/fixture.ts";
import { grpcStatusOf, httpStatusOf } from "./grpc-status.ts";
import { answerLocally } from "./local-reply.ts";

test("an HTTP caller gets status, text and length; a HEAD request the head alone", () => {
  const sink = new Recorder();
  answerLocally(makeCall(), sink, { status: 403, body: "née", flag: "UAEX", headers: ["x-a", "1"] });
  expect(sink.events).toEqual(["head 403", "data 4", "end"]);
  expect(sink.head!.headers.flat()).toEqual(["x-a", "1", "content-type", "text/plain", "content-length", "4"]);
  const head = new Recorder();
  answerLocally(makeCall({ method: "HEAD" }), head, { status: 403, body: "no", flag: "UAEX" });
  expect(head.events).toEqual(["head 403", "end"]);
});

test("a gRPC caller gets a trailers-only answer (law 2)", () => {
  const sink = new Recorder();
  const call = makeCall({ protocol: "grpc" });
  answerLocally(call, sink, { status: 403, body: "né %\n", flag: "UAEX" });
  expect(sink.events).toEqual(["head 200", "end"]);
  const { headers } = sink.head!;
  expect([headers.get("grpc-status"), headers.get("grpc-message")]).toEqual(["7", "n%C3%A9 %25%0A"]);
  expect(call.record).toMatchObject({ grpcStatus: 7, flag: "UAEX" });
});

test("law 5: a caller that gives up on the head gets back its own reason", () => {
  const call = makeCall();
  const sink = new Recorder();
  const quits = { ...bound(sink), onHead: () => call.abort(new Error("mine")) };
  answerLocally(call, quits, { status: 403, body: "no", flag: "UAEX" });
  expect(sink.events).toEqual(["error ABORTED"]);
});

test("gRPC's table of statuses, and back", () => {
  expect([400, 401, 403, 404, 429, 502, 503, 504, 200, 500].map(grpcStatusOf)).toEqual([
    13, 16, 7, 12, 14, 14, 14, 14, 2, 2,
  ]);
  expect([0, 1, 4, 7, 12, 14, 16, 99].map(httpStatusOf)).toEqual([200, 499, 504, 403, 501, 503, 401, 500]);
});

function bound(sink: Recorder) {
  return {
    onHead: sink.onHead.bind(sink),
    onData: sink.onData.bind(sink),
    onEnd: sink.onEnd.bind(sink),
    onError: sink.onError.bind(sink),
  };
}
