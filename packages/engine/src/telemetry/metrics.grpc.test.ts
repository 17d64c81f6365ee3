import fc from "fast-check";
import { expect, it } from "vitest";
import { type CallOptions, makeCall } from "../../../../test/kit/call.ts";
import type { Call } from "../call.ts";
import type { OwnWorkload } from "./labels.ts";
import { createMetrics, type MeshMetrics, type MetricsOptions } from "./metrics.ts";

const own: OwnWorkload = {
  workload: "web-v1",
  namespace: "shop",
  app: "web",
  version: "v1",
  canonicalService: "web",
  canonicalRevision: "v1",
  cluster: "east",
  principal: "",
};

function begin(metrics: MeshMetrics, options: CallOptions = {}): Call {
  const call = makeCall({ protocol: "grpc", method: "POST", path: "/shop.Reviews/Chat", ...options });
  call.record.reached = true;
  call.record.operation = call.path;
  metrics.onOpen(call);
  return call;
}

function end(metrics: MeshMetrics, call: Call, grpcStatus = 0): void {
  Object.assign(call.record, { status: 200, grpcStatus });
  metrics.onCall(call);
}

/** Name of the operation, or the reporter without the option → value. */
function values(metrics: MeshMetrics, name: string): Record<string, number> {
  const family = metrics.collect().find((each) => each.name === name);
  if (family?.type !== "counter") throw new Error(name);
  return Object.fromEntries(
    family.series.map(({ labels, value }) => [labels["request_operation"] ?? labels["reporter"]!, value]),
  );
}

const requestMessages = "istio_request_messages_total";
const responseMessages = "istio_response_messages_total";

it("an open stream shows its progress whenever somebody looks, and its end adds only the rest", () => {
  const metrics = createMetrics(own);
  const call = begin(metrics);
  expect(values(metrics, requestMessages)).toEqual({});
  call.record.requestMessages = 3;
  call.record.responseMessages = 1;
  expect(values(metrics, requestMessages)).toEqual({ source: 3 });
  expect(values(metrics, requestMessages)).toEqual({ source: 3 });
  expect(values(metrics, responseMessages)).toEqual({ source: 1 });
  expect(values(metrics, "istio_requests_total")).toEqual({});
  call.record.requestMessages = 5;
  end(metrics, call);
  expect(values(metrics, requestMessages)).toEqual({ source: 5 });
  expect(values(metrics, "istio_requests_total")).toEqual({ source: 1 });
  // What is over is not looked at again.
  call.record.requestMessages = 100;
  expect(values(metrics, requestMessages)).toEqual({ source: 5 });
});

it("a call that reached nobody yet is counted for nobody; a served one always", () => {
  const metrics = createMetrics(own);
  const call = begin(metrics);
  call.record.reached = false;
  call.record.requestMessages = 1;
  const served = begin(metrics, { side: "inbound" });
  served.record.reached = false;
  served.record.requestMessages = 2;
  expect(values(metrics, requestMessages)).toEqual({ destination: 2 });
  call.record.reached = true;
  expect(values(metrics, requestMessages)).toEqual({ source: 1, destination: 2 });
});

it("counters never fall, and lose nothing, whoever looks and when", () => {
  const step = fc.record({ call: fc.nat(3), kind: fc.constantFrom("send", "receive", "look", "end") });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const metrics = createMetrics(own);
      const calls: (Call | undefined)[] = Array.from({ length: 4 }, () => begin(metrics));
      let sent = 0;
      let before = 0;
      for (const { call: at, kind } of steps) {
        const call = calls[at];
        if (kind === "look") {
          const now = values(metrics, requestMessages)["source"] ?? 0;
          expect(now).toBeGreaterThanOrEqual(before);
          expect(now).toBe(sent);
          before = now;
        } else if (call === undefined) continue;
        else if (kind === "send") sent = sent + Math.sign(++call.record.requestMessages);
        else if (kind === "receive") call.record.responseMessages++;
        else {
          end(metrics, call);
          calls[at] = undefined;
        }
      }
      expect(values(metrics, requestMessages)["source"] ?? 0).toBe(sent);
    }),
    { numRuns: 200, seed: 18 },
  );
});

const options: MetricsOptions = { maxOperations: 2 };

it("methods are told apart where that is asked for, up to a bound", () => {
  const metrics = createMetrics(own, options);
  for (const path of ["/a.S/One", "/a.S/Two", "/a.S/Three", "/a.S/Four", "/a.S/One"]) {
    const call = begin(metrics, { path });
    call.record.requestMessages = 1;
    end(metrics, call);
  }
  expect(values(metrics, "istio_requests_total")).toEqual({ "a.S/One": 2, "a.S/Two": 1, other: 2 });
  expect(values(metrics, requestMessages)).toEqual({ "a.S/One": 2, "a.S/Two": 1, other: 2 });
});

it("gRFC A66: a method that nobody registered is other, and takes no room; one that was refused keeps its name once it is known", () => {
  const metrics = createMetrics(own, options);
  const refuse = (path: string, status: number): void => {
    const call = begin(metrics, { path, side: "inbound" });
    call.record.operation = "";
    end(metrics, call, status);
  };
  for (let i = 0; i < 10; i++) refuse(`/made.Up/${i}`, 12);
  refuse("/a.S/One", 7);
  end(metrics, begin(metrics, { path: "/a.S/One", side: "inbound" }));
  refuse("/a.S/One", 7);
  const family = metrics.collect()[0]!;
  expect(
    family.series.map((each) => [
      each.labels["request_operation"],
      each.labels["grpc_response_status"],
      "value" in each && each.value,
    ]),
  ).toEqual([
    ["other", "12", 10],
    ["other", "7", 1],
    ["a.S/One", "0", 1],
    ["a.S/One", "7", 1],
  ]);
});

it("HTTP has no operation, and without the option nothing has", () => {
  const metrics = createMetrics(own, options);
  metrics.onCall(makeCall());
  expect(values(metrics, "istio_requests_total")).toEqual({ unknown: 1 });
  const off = createMetrics(own);
  end(off, begin(off));
  expect(Object.keys(off.collect()[0]!.series[0]!.labels)).not.toContain("request_operation");
});

it("what is past the bound of series is counted all the same", () => {
  const metrics = createMetrics(own, { maxSeries: 4, maxOperations: 100 });
  for (let i = 0; i < 20; i++) {
    const call = begin(metrics, { path: `/a.S/${i}` });
    call.record.requestMessages = 1;
    end(metrics, call);
  }
  for (const name of ["istio_requests_total", requestMessages]) {
    const found = values(metrics, name);
    expect(Object.values(found).reduce((sum, each) => sum + each, 0)).toBe(20);
    expect(found["other"]).toBeGreaterThan(0);
  }
});
