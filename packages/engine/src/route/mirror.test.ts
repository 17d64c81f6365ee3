import { describe, expect, test } from "vitest";

import { Recorder, host, makeCall, prefix, route, testState, to } from "../../test/fixture.ts";
import type { CallOptions } from "../../test/fixture.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import type { Call, CopyBudget, RequestBody } from "../call.ts";
import type { MirrorPolicy } from "../config-mutation.ts";
import { MeshError } from "../errors.ts";
import { HeaderList } from "../headers.ts";
import { type Service, type Sink, noFlow } from "../service.ts";
import { MirrorLoad } from "../state.ts";
import { shadowOf } from "./mirror.ts";
import { compileRoutes } from "./router.ts";

const all: MirrorPolicy = { cluster: "m", perMillion: 1_000_000, keepHost: false };

/** A route to `one` with mirrors; what is sent is held until the test answers it. */
function world(mirrors: readonly MirrorPolicy[], upstream?: Service) {
  const told: string[] = [];
  const env = testEnv({
    telemetry: { onCall() {}, onMirror: ({ name }, outcome, status) => void told.push(`${name} ${outcome} ${status}`) },
  });
  const sent: { readonly cluster: string; readonly call: Call; readonly sink: Sink }[] = [];
  const load = new MirrorLoad();
  let pinned = 0;
  const counter = { begin: () => void pinned++, end: () => void pinned-- };
  const service = compileRoutes(
    { name: "rc", virtualHosts: [host(["*"], [route("r", prefix("/"), { ...to("one"), mirrors })])] },
    {
      env,
      filters: [],
      state: testState(),
      mirrors: { load, counter },
      cluster: (name) =>
        name === "missing"
          ? undefined
          : {
              config: { name, service: undefined },
              service: () => (call, sink) => {
                sent.push({ cluster: name, call, sink });
                call.active = { abort: (reason) => sink.onError(reason) };
                upstream?.(call, sink);
              },
            },
    },
  );
  return {
    told,
    sent,
    load,
    env,
    get pinned() {
      return pinned;
    },
    send(options: CallOptions = {}) {
      const call = makeCall(options);
      const sink = new Recorder();
      service(call, sink);
      return { call, sink };
    },
  };
}

const ok = (sink: Sink, bytes = 0): void => {
  sink.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
  if (bytes > 0) sink.onData(new Uint8Array(bytes));
  sink.onEnd(undefined);
};

test("a copy of what is sent, under another host, after the call itself; its answer is nobody's", () => {
  const mesh = world([all, { cluster: "n", perMillion: 1_000_000, keepHost: true }]);
  const { sink } = mesh.send({ method: "GET", path: "/a?b", headers: ["x", "1", "host", "reviews:9080"] });
  expect(mesh.sent.map(({ cluster }) => cluster)).toEqual(["one", "n", "m"]);
  const copy = mesh.sent[2]!.call;
  expect([copy.method, copy.path, copy.authority, copy.headers.flat()]).toEqual([
    "GET",
    "/a?b",
    "reviews-shadow:9080",
    ["x", "1", "host", "reviews-shadow:9080"],
  ]);
  expect(mesh.sent[1]!.call.authority).toBe("reviews:9080");
  expect(mesh.sent[0]!.call.headers.get("host")).toBe("reviews:9080");
  ok(mesh.sent[2]!.sink);
  mesh.sent[1]!.sink.onError(new MeshError("RESET", "gone"));
  expect(sink.events).toEqual([]);
  ok(mesh.sent[0]!.sink);
  expect(sink.events).toEqual(["head 200", "end"]);
  expect(mesh.told).toEqual(["m answered 200", "n failed 0"]);
  expect([mesh.load.under.size, mesh.load.bytes, mesh.pinned, mesh.env.clock.pending]).toEqual([0, 0, 0, 0]);
});

test("a share, rolled for each call; nothing at all costs nothing", () => {
  const mesh = world([{ ...all, perMillion: 100_000 }]);
  for (let i = 0; i < 2_000; i++) {
    mesh.send();
    for (const { sink } of mesh.sent.splice(0)) ok(sink);
  }
  expect(Math.abs(mesh.told.length - 200)).toBeLessThan(60);
  const none = world([{ ...all, perMillion: 0 }]);
  none.send();
  expect([none.sent.length, none.told]).toEqual([1, []]);
});

describe("never at the cost of the call", () => {
  test("more than 100 under way are dropped, and told", () => {
    const mesh = world([all]);
    for (let i = 0; i < 102; i++) mesh.send();
    expect(mesh.sent.filter(({ cluster }) => cluster === "m")).toHaveLength(100);
    expect(mesh.told).toEqual(["m dropped 0", "m dropped 0"]);
    ok(mesh.sent.find(({ cluster }) => cluster === "m")!.sink);
    mesh.send();
    expect(mesh.load.under.size).toBe(100);
  });

  test("a mirror that throws, or is not there", () => {
    const mesh = world([all, { ...all, cluster: "missing" }], (call, sink) => {
      if (call.authority.includes("-shadow")) throw new Error("broken");
      ok(sink);
    });
    expect(mesh.send().sink.events).toEqual(["head 200", "end"]);
    expect(mesh.told).toEqual(["missing dropped 0", "m failed 0"]);
    expect(mesh.pinned).toBe(0);
  });

  test("one that does not answer ends with the deadline of its call, or after 15 seconds", () => {
    const mesh = world([all]);
    const { call } = mesh.send();
    ok(mesh.sent[0]!.sink);
    expect(call.record.attempts).toBe(0);
    mesh.env.clock.advance(15_000);
    expect(mesh.told).toEqual(["m failed 0"]);
    expect(mesh.sent[1]!.call.aborted).toMatchObject({ code: "TIMEOUT" });
  });

  test("an answer that nobody reads is cut", () => {
    const mesh = world([all]);
    mesh.send();
    const { call, sink } = mesh.sent[1]!;
    sink.onHead({ status: 503, headers: HeaderList.empty() }, noFlow);
    for (let i = 0; i < 5; i++) sink.onData(new Uint8Array(20_000));
    expect(mesh.told).toEqual(["m answered 503"]);
    expect(call.aborted).toMatchObject({ code: "ABORTED" });
  });

  test("a drain does not wait for it", () => {
    const mesh = world([all]);
    mesh.send();
    mesh.load.stop();
    expect([mesh.load.under.size, mesh.pinned, mesh.told]).toEqual([0, 0, ["m dropped 0"]]);
  });
});

describe("bodies", () => {
  function bodied(copied: (budget: CopyBudget) => RequestBody | undefined): RequestBody {
    return { canReplay: () => false, copy: copied };
  }

  test("one that cannot be copied is not mirrored", () => {
    const mesh = world([all]);
    mesh.send({ replay: false });
    mesh.send({ body: bodied(() => undefined) });
    expect([mesh.sent.length, mesh.told, mesh.load.bytes]).toEqual([2, ["m dropped 0", "m dropped 0"], 0]);
  });

  test("what a copy holds is bounded, of one and of all, and given back", () => {
    const mesh = world([all]);
    const budgets: CopyBudget[] = [];
    const body = bodied((budget) => (budgets.push(budget), { canReplay: () => false }));
    for (let i = 0; i < 20; i++) mesh.send({ body });
    const megabyte = 1_048_576;
    expect(budgets[0]!.take(megabyte + 1)).toBe(false);
    const taken = budgets.map((budget) => budget.take(megabyte));
    expect(taken.filter(Boolean)).toHaveLength(16);
    budgets[0]!.give(megabyte);
    expect(budgets[19]!.take(megabyte)).toBe(true);
    for (const budget of budgets) budget.lost();
    expect([mesh.load.bytes, mesh.load.under.size, mesh.told.length]).toEqual([0, 0, 20]);
  });

  test("a copy that is lost while it is made is never sent", () => {
    const mesh = world([all]);
    const body = bodied((budget) => {
      budget.take(10);
      budget.lost();
      return { canReplay: () => false };
    });
    mesh.send({ body });
    expect([mesh.sent.length, mesh.load.bytes, mesh.told]).toEqual([1, 0, ["m dropped 0"]]);
  });
});

test.each([
  ["reviews", "reviews-shadow"],
  ["reviews.shop:9080", "reviews.shop-shadow:9080"],
  ["10.0.0.1:80", "10.0.0.1-shadow:80"],
  ["[::1]:80", "[::1]-shadow:80"],
  ["", ""],
])("the host of a copy: %s", (authority, shadow) => expect(shadowOf(authority)).toBe(shadow));
