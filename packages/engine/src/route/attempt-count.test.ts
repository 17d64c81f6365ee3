import { expect, test } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { MockPeer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import { attemptCountLayer } from "./attempt-count.ts";

test("not asked for, it is no layer at all", () => {
  expect(attemptCountLayer(undefined)).toBeUndefined();
});

test("the answer tells how many attempts there were, in place of what the peer said", () => {
  const peer = new MockPeer((exchange) => void exchange.answer(200, "x", { "x-envoy-attempt-count": "9" }));
  const call = makeCall();
  const sink = new TestSink();
  call.record.attempts = 3;
  attemptCountLayer({ request: true, response: true })!(peer.service)(call, sink);
  expect(sink.head?.headers.get("x-envoy-attempt-count")).toBe("3");
  expect(call.tellAttempt).toBe(true);
});

test("only the request is counted: the sink goes on untouched (law 3)", () => {
  checkServiceLaws(({ peer }) => attemptCountLayer({ request: true, response: false })!(refusing(peer)), {
    passesSink: true,
    runs: 100,
  });
});

test("the laws, with the answer counted", () => {
  checkServiceLaws(({ peer }) => attemptCountLayer({ request: false, response: true })!(refusing(peer)), { runs: 200 });
});

/** Whatever stands below refuses an aborted call, as every Service does. */
function refusing(peer: MockPeer): MockPeer["service"] {
  return (call, sink) => (call.aborted === undefined ? peer.service(call, sink) : sink.onError(call.aborted));
}
