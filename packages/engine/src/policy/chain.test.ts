import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Call } from "../call.ts";
import { MeshError } from "../errors.ts";
import { HeaderList } from "../headers.ts";
import { noFlow } from "../service.ts";
import type { Service, Sink } from "../service.ts";
import { makeCall, Recorder, testEnv } from "../../test/fixture.ts";
import { filterLayer } from "./chain.ts";
import type { Filter, LocalReply, Outcome, Verdict } from "./filter.ts";

const ok: Service = (_call, sink) => {
  sink.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
  sink.onData(new Uint8Array(1));
  sink.onEnd(undefined);
};
const teapot: LocalReply = { status: 418, body: "no", flag: "RL" };
const settled = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

function run(filters: readonly Filter[], inner: Service = ok, call: Call = makeCall()) {
  const env = testEnv();
  const sink = new Recorder();
  filterLayer(filters, env)(inner)(call, sink);
  return { env, sink, call };
}

const named = (
  name: string,
  rest: Omit<Filter, "name" | "onFailure">,
  onFailure: Filter["onFailure"] = "deny",
): Filter => ({
  name,
  onFailure,
  ...rest,
});

describe("order", () => {
  test("requests run in order, answers and ends the other way round", async () => {
    const log: string[] = [];
    const filter = (name: string, verdict: Verdict | Promise<Verdict>): Filter =>
      named(name, {
        onRequest: () => (log.push(`${name} request`), verdict),
        onResponse: () => void log.push(`${name} response`),
        onEnd: () => void log.push(`${name} end`),
      });
    const { sink } = run([
      filter("a", "continue"),
      filter("b", Promise.resolve("continue" as const)),
      filter("c", "continue"),
    ]);
    expect(log).toEqual(["a request", "b request"]);
    await settled();
    expect(log).toEqual([
      "a request",
      "b request",
      "c request",
      "c response",
      "b response",
      "a response",
      "c end",
      "b end",
      "a end",
    ]);
    expect(sink.events).toEqual(["head 200", "data 1", "end"]);
  });

  test("a local reply is seen by the filters that began, and by nobody behind", () => {
    const log: string[] = [];
    const watch = (name: string, verdict: Verdict): Filter =>
      named(name, {
        onRequest: () => verdict,
        onResponse: (_call, head) => void log.push(`${name} ${head.status}`),
        onEnd: (_call, outcome) => void log.push(`${name} ended ${outcome.status}`),
      });
    const { sink, call } = run([watch("a", "continue"), watch("b", teapot), watch("c", "continue")]);
    expect(log).toEqual(["b 418", "a 418", "b ended 418", "a ended 418"]);
    expect(sink.events).toEqual(["head 418", "data 2", "end"]);
    expect(call.record.flag).toBe("RL");
  });

  test("wrappers nest: the first filter's is nearest to the caller", () => {
    const mark = (name: string): Filter =>
      named(name, {
        wrapSink: (_call, sink) => ({
          onHead: (head, flow) => sink.onHead(head, flow),
          onData: (chunk) => sink.onData(new TextEncoder().encode(new TextDecoder().decode(chunk) + name)),
          onEnd: (trailers) => sink.onEnd(trailers),
          onError: (error) => sink.onError(error),
        }),
      });
    const inner: Service = (_call, sink) => (sink.onData(new TextEncoder().encode("x")), sink.onEnd(undefined));
    expect(run([mark("a"), mark("b")], inner).sink.body).toBe("xba");
  });
});

describe("law 3", () => {
  test("when nobody watches the answer, the inner service gets the caller's own sink, waiting or not", async () => {
    for (const verdict of ["continue", Promise.resolve("continue" as const)] as const) {
      let given: Sink | undefined;
      const { sink } = run([named("a", { onRequest: () => verdict })], (_call, inner) => void (given = inner));
      await settled();
      expect(given).toBe(sink);
    }
  });

  test("an empty chain is the inner service itself", () => {
    expect(filterLayer([], testEnv())(ok)).toBe(ok);
  });
});

describe("law 5: abort", () => {
  test("while a filter waits, its waiting is called off and the caller gets back its own reason", async () => {
    let called: MeshError | undefined;
    let forwarded = false;
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    const { sink, call } = run(
      [named("slow", { onRequest: () => ({ verdict: promise, abort: (reason) => void (called = reason) }) })],
      () => void (forwarded = true),
    );
    const reason = new Error("mine");
    call.abort(reason);
    expect(called?.cause).toBe(reason);
    expect(sink.error?.cause).toBe(reason);
    resolve("continue");
    await settled();
    expect(sink.events).toEqual(["error ABORTED"]);
    expect(forwarded).toBe(false);
    expect(call.active).toBeUndefined();
  });

  test("a call that was aborted before reaches no filter; one that a filter aborts reaches nothing behind it", () => {
    let asked = 0;
    const call = makeCall();
    call.abort(new Error("early"));
    expect(run([named("a", { onRequest: () => (asked++, "continue") })], ok, call).sink.events).toEqual([
      "error ABORTED",
    ]);
    expect(asked).toBe(0);
    const killer = named("a", { onRequest: (one) => (one.abort(new Error("killed")), "continue") });
    expect(run([killer]).sink.events).toEqual(["error ABORTED"]);
    const waits = named("a", {
      onRequest: (one) => (one.abort(new Error("killed")), Promise.resolve("continue" as const)),
    });
    expect(run([waits]).sink.events).toEqual(["error ABORTED"]);
  });
});

describe("law 9: failures", () => {
  const boom = () => {
    throw new TypeError("boom");
  };
  const rejected = () => Promise.reject<Verdict>(new TypeError("boom"));

  test.each([
    ["throw", boom],
    ["rejection", rejected],
  ] as const)("a %s denies where the filter protects", async (_kind, onRequest) => {
    let forwarded = false;
    const { sink, env } = run([named("guard", { onRequest })], () => void (forwarded = true));
    await settled();
    expect(sink.error).toMatchObject({ code: "INTERNAL", message: 'filter "guard" failed' });
    expect(forwarded).toBe(false);
    expect(env.logged[0]?.level).toBe("error");
  });

  test.each([
    ["throw", boom],
    ["rejection", rejected],
  ] as const)("a %s is passed over where the filter observes", async (_kind, onRequest) => {
    const { sink, env } = run([named("watch", { onRequest }, "ignore")]);
    await settled();
    expect(sink.events).toEqual(["head 200", "data 1", "end"]);
    expect(env.logged[0]?.level).toBe("warn");
  });

  test("a guard that fails on the answer withholds it and stops the upstream", () => {
    let stopped: MeshError | undefined;
    const inner: Service = (call, sink) => {
      call.active = { abort: (reason) => ((stopped = reason), sink.onError(reason)) };
      sink.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
      sink.onData(new Uint8Array(1));
    };
    const { sink } = run([named("guard", { onResponse: boom })], inner);
    expect(sink.events).toEqual(["error INTERNAL"]);
    expect(stopped).toBe(sink.error);
    expect(run([named("watch", { onResponse: boom }, "ignore")]).sink.events).toEqual(["head 200", "data 1", "end"]);
  });

  test("an end that fails changes nothing for the caller", () => {
    const { sink, env } = run([named("guard", { onEnd: boom })]);
    expect(sink.events).toEqual(["head 200", "data 1", "end"]);
    expect(env.logged).toHaveLength(1);
  });

  test("a wrapper that fails denies or is left out", () => {
    expect(run([named("guard", { wrapSink: boom })]).sink.events).toEqual(["error INTERNAL"]);
    expect(run([named("watch", { wrapSink: boom }, "ignore")]).sink.events).toEqual(["head 200", "data 1", "end"]);
  });
});

type Move = "continue" | "reply" | "error" | "throw" | "later" | "never" | "reject" | "pending";

test("laws 2 and 7 in any mix of filters and at any moment of abort", async () => {
  const move = fc.constantFrom<Move>(
    "continue",
    "continue",
    "later",
    "reply",
    "error",
    "throw",
    "never",
    "reject",
    "pending",
  );
  const spec = fc.record({ move, onFailure: fc.constantFrom("deny", "ignore" as const), watches: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(spec, { maxLength: 5 }), fc.nat(3), async (specs, abortAt) => {
      const ends: Outcome[][] = specs.map(() => []);
      const began = specs.map(() => false);
      const filters = specs.map(({ move: what, onFailure, watches }, at): Filter => ({
        name: `${at}`,
        onFailure,
        onRequest: () => {
          began[at] = true;
          return verdictOf(what);
        },
        ...(watches ? { onEnd: (_call: Call, outcome: Outcome) => void ends[at]!.push(outcome) } : {}),
      }));
      const call = makeCall();
      let served = 0;
      const { sink } = run(filters, (one, inner) => (served++, ok(one, inner)), call);
      for (let turn = 0; turn < abortAt; turn++) await Promise.resolve();
      call.abort(new Error("given up"));
      await settled();
      expect(served).toBeLessThanOrEqual(1);
      const last = sink.events.filter((event) => event === "end" || event.startsWith("error"));
      expect(last).toHaveLength(1);
      expect(sink.events.at(-1)).toBe(last[0]);
      for (const [at, { watches }] of specs.entries())
        expect(ends[at]).toHaveLength(watches && began[at] === true ? 1 : 0);
    }),
    { numRuns: 2_000 },
  );
});

function verdictOf(move: Move): ReturnType<NonNullable<Filter["onRequest"]>> {
  switch (move) {
    case "continue":
      return "continue";
    case "reply":
      return teapot;
    case "error":
      return new MeshError("DENIED", "no");
    case "throw":
      throw new Error("thrown");
    case "later":
      return Promise.resolve("continue");
    case "reject":
      return Promise.reject(new Error("rejected"));
    case "never":
      return new Promise(() => {});
    case "pending":
      return { verdict: Promise.resolve(teapot), abort() {} };
  }
}
