import { describe, expect, test } from "vitest";
import type { FaultConfig } from "../config.ts";
import { header, is, makeCall, Recorder, seeded, testEnv, testState } from "../../test/fixture.ts";
import type { CallOptions, TestEnv } from "../../test/fixture.ts";
import { filterLayer } from "./chain.ts";
import { buildFilter } from "./registry.ts";

const ALL = 1_000_000;
const config = (rest: Partial<FaultConfig>): FaultConfig => ({
  kind: "fault",
  delay: undefined,
  abort: undefined,
  headers: [],
  maxActive: undefined,
  ...rest,
});
const delay = (ms: number, perMillion = ALL) => ({ ms, perMillion });
const abort = (httpStatus: number | undefined, grpcStatus?: number, perMillion = ALL) => ({
  httpStatus,
  grpcStatus,
  perMillion,
});

function inject(fault: FaultConfig, env: TestEnv = testEnv(), state = testState()) {
  const filter = buildFilter(fault, "fault", env, state)!;
  const service = filterLayer([filter], env)((_call, sink) => sink.onEnd(undefined));
  const send = (options: CallOptions = {}) => {
    const call = makeCall(options);
    const sink = new Recorder();
    service(call, sink);
    return { call, sink };
  };
  return { env, send, active: state.counter("fault/fault") };
}
const settled = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

test("a fault with nothing to do is no filter: the empty one that every listener carries costs nothing", () => {
  for (const fault of [config({}), config({ delay: delay(5, 0) }), config({ abort: abort(503, undefined, 0) })])
    expect(buildFilter(fault, "fault", testEnv(), testState())).toBeUndefined();
});

describe("abort", () => {
  test("is an answer with flag FI, in the caller's own terms", () => {
    const http = inject(config({ abort: abort(503) })).send();
    expect(http.sink.events).toEqual(["head 503", "data 18", "end"]);
    expect(http.call.record.flag).toBe("FI");
    const grpc = inject(config({ abort: abort(503) })).send({ protocol: "grpc" });
    expect(grpc.call.record).toMatchObject({ grpcStatus: 14, flag: "FI" });
    const written = inject(config({ abort: abort(undefined, 8) }));
    expect(written.send({ protocol: "grpc" }).call.record.grpcStatus).toBe(8);
    expect(written.send().sink.head!.status).toBe(429);
  });

  test("only where all header conditions hold", () => {
    const { send } = inject(config({ abort: abort(500), headers: [header("x", is("1")), header("y", is("2"))] }));
    expect(send({ headers: ["x", "1", "y", "2"] }).sink.events[0]).toBe("head 500");
    expect(send({ headers: ["x", "1"] }).sink.events).toEqual(["end"]);
  });
});

describe("delay", () => {
  test("holds the call, marks it DI, then lets it go", async () => {
    const { env, send, active } = inject(config({ delay: delay(200) }));
    const { sink, call } = send();
    await settled();
    expect([sink.events, call.record.flag, active.value]).toEqual([[], "DI", 1]);
    env.clock.advance(200);
    await settled();
    expect([sink.events, call.record.flag, active.value]).toEqual([["end"], "DI", 0]);
  });

  test("comes before the abort", async () => {
    const { env, send } = inject(config({ delay: delay(200), abort: abort(503) }));
    const { sink, call } = send();
    expect(sink.events).toEqual([]);
    env.clock.advance(200);
    await settled();
    expect([sink.events[0], call.record.flag]).toEqual(["head 503", "FI"]);
  });

  test("ends when the caller gives up: the timer is gone and the place is free", async () => {
    const { env, send, active } = inject(config({ delay: delay(200), maxActive: 1 }));
    const { sink, call } = send();
    const reason = new Error("mine");
    call.abort(reason);
    expect(sink.error!.cause).toBe(reason);
    expect([env.clock.pending, active.value]).toEqual([0, 0]);
    env.clock.advance(1_000);
    await settled();
    expect(sink.events).toEqual(["error ABORTED"]);
  });

  test("above the limit of active faults a call passes; the count outlives a configuration (law 6)", async () => {
    const state = testState();
    const env = testEnv();
    const before = inject(config({ delay: delay(200), maxActive: 1 }), env, state);
    const after = inject(config({ delay: delay(300), abort: abort(503), maxActive: 1 }), env, state);
    const held = before.send();
    expect(after.send().sink.events).toEqual(["end"]);
    env.clock.advance(200);
    await settled();
    expect(held.sink.events).toEqual(["end"]);
    expect(after.send().sink.events).toEqual([]);
  });
});

test("R32: delay and abort roll their own dice", async () => {
  const env = testEnv(seeded(11));
  const { send } = inject(config({ delay: delay(10, 500_000), abort: abort(503, undefined, 500_000) }), env);
  const seen = new Map<string, number>();
  for (let i = 0; i < 4_000; i++) {
    const { sink, call } = send();
    const delayed = call.record.flag === "DI";
    env.clock.advance(10);
    await settled();
    const key = `${delayed ? "delayed" : "prompt"} ${sink.events[0]}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  expect([...seen.keys()].sort()).toEqual(["delayed end", "delayed head 503", "prompt end", "prompt head 503"]);
  for (const count of seen.values()) expect(Math.abs(count - 1_000)).toBeLessThan(100);
});

describe("faults that the request asks for (Envoy's header_delay and header_abort)", () => {
  const asked = { perMillion: ALL, byRequest: { unitPerMillion: 10_000 } };
  const faults = config({
    delay: { ms: 0, ...asked },
    abort: { httpStatus: undefined, grpcStatus: undefined, ...asked },
  });

  test("an abort by status of HTTP, or of gRPC; anything else asks for none", () => {
    const events = (name: string, value: string) =>
      inject(faults).send({ headers: [`x-envoy-fault-${name}`, value] }).sink.events[0];
    expect(events("abort-request", "418")).toBe("head 418");
    expect(events("abort-grpc-request", "14")).toBe("head 503");
    for (const value of ["", "199", "600", "-1", "4e2", "418x"]) expect(events("abort-request", value)).toBe("end");
    expect(inject(faults).send().sink.events).toEqual(["end"]);
  });

  test("a delay in milliseconds, before the abort", async () => {
    const { env, send } = inject(faults);
    const { sink } = send({ headers: ["x-envoy-fault-delay-request", "250", "x-envoy-fault-abort-request", "503"] });
    env.clock.advance(249);
    await settled();
    expect(sink.events).toEqual([]);
    env.clock.advance(1);
    await settled();
    expect(sink.events[0]).toBe("head 503");
    expect(send({ headers: ["x-envoy-fault-delay-request", "99999999999"] }).sink.events).toEqual(["end"]);
  });

  test("the request may make the share smaller, not larger", () => {
    const share = (perMillion: number, percentage: string): number => {
      const { send } = inject(
        config({ abort: { httpStatus: undefined, grpcStatus: undefined, ...asked, perMillion } }),
        testEnv(seeded(7)),
      );
      const headers = ["x-envoy-fault-abort-request", "503", "x-envoy-fault-abort-request-percentage", percentage];
      return Array.from({ length: 1_000 }, () => send({ headers }).sink.events[0]).filter((one) => one === "head 503")
        .length;
    };
    expect(Math.abs(share(ALL, "10") - 100)).toBeLessThan(40);
    expect(Math.abs(share(100_000, "90") - 100)).toBeLessThan(40);
    expect(share(ALL, "nonsense")).toBe(1_000);
    expect(share(ALL, "0")).toBe(0);
  });
});
