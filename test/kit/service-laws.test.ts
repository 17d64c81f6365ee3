import { noFlow, HeaderList, MeshError } from "@trama/engine";
import type { Service } from "@trama/engine";
import { describe, expect, it } from "vitest";
import { makeCall } from "./call.ts";
import { MockPeer, answers } from "./peer.ts";
import { checkServiceLaws, observeLaws } from "./service-laws.ts";
import type { LawWorld } from "./service-laws.ts";

// A check that never fails proves nothing: each law has a service here that breaks it.

const head = { status: 200, headers: HeaderList.empty() };
const breakers: [string, RegExp, (world: LawWorld) => Service][] = [
  [
    "throws",
    /thrown/,
    () => () => {
      throw new Error("thrown");
    },
  ],
  ["never answers", /law 2: an answer must end/, () => () => {}],
  [
    "answers twice",
    /law 2: .*after the last event/,
    ({ peer }) =>
      (call, sink) => {
        peer.service(call, sink);
        sink.onError(new MeshError("INTERNAL", "again"));
      },
  ],
  [
    "sends data before a head",
    /law 2: data before the head/,
    () => (_call, sink) => {
      sink.onData(Buffer.from("x"));
      sink.onHead(head, noFlow);
      sink.onEnd(undefined);
    },
  ],
  [
    "sends what was aborted",
    /law 5: an aborted call/,
    ({ peer }) =>
      (call, sink) =>
        peer.service(call, sink),
  ],
  [
    "gives another reason",
    /law 5: the caller gets back/,
    ({ peer }) =>
      (call, sink) => {
        if (call.aborted !== undefined) return sink.onError(call.aborted);
        peer.service(call, {
          onHead: (h, f) => sink.onHead(h, f),
          onData: (d) => sink.onData(d),
          onEnd: (t) => sink.onEnd(t),
          onError: () => sink.onError(new MeshError("RESET", "lost")),
        });
      },
  ],
  [
    "repeats after the first byte",
    /law (2|8)/,
    ({ peer }) =>
      (call, sink) => {
        if (call.aborted !== undefined) return sink.onError(call.aborted);
        peer.service(call, {
          onHead: (h, f) => sink.onHead(h, f),
          onData: (d) => sink.onData(d),
          onEnd: (t) => sink.onEnd(t),
          onError: () => peer.service(call, sink),
        });
      },
  ],
  [
    "forgets a timer",
    /no timer/,
    ({ peer, env }) =>
      (call, sink) => {
        env.clock.after(1e9, () => {});
        if (call.aborted !== undefined) return sink.onError(call.aborted);
        peer.service(call, sink);
      },
  ],
];

describe("the laws notice a service that", () => {
  it.each(breakers)("%s", (_name, message, build) => {
    expect(() => checkServiceLaws(build)).toThrow(message);
  });

  it("and are content with one that keeps them", () => {
    checkServiceLaws(
      ({ peer }) =>
        (call, sink) =>
          call.aborted === undefined ? peer.service(call, sink) : sink.onError(call.aborted),
      { passesSink: true },
    );
  });
});

describe("one real call under observation", () => {
  it.each(["before", "at once", "head", "data"] as const)("aborted %s, gets back its own reason", async (when) => {
    const peer = new MockPeer((exchange) => void setImmediate(() => exchange.head(200).data().end()));
    const service: Service = (call, sink) =>
      call.aborted === undefined ? peer.service(call, sink) : sink.onError(call.aborted);
    const reason = new Error("enough");
    const sink = await observeLaws(service, makeCall(), { when, reason });
    expect(sink.error?.cause).toBe(reason);
  });

  it("fails when an event comes after the last one", async () => {
    const peer = new MockPeer(answers(200));
    const service: Service = (call, sink) => {
      peer.service(call, sink);
      setImmediate(() => sink.onData(Buffer.from("late")));
    };
    await expect(observeLaws(service, makeCall())).rejects.toThrow("law 2");
  });
});
