import { MeshError } from "@trama/engine";
import type { Call, MeshErrorCode, Service } from "@trama/engine";
import fc from "fast-check";
import { makeCall } from "./call.ts";
import type { CallOptions } from "./call.ts";
import { testEnv } from "./env.ts";
import type { TestEnv } from "./env.ts";
import { MockPeer } from "./peer.ts";
import type { Exchange } from "./peer.ts";
import { TestSink } from "./sink.ts";

/** What a subject is built with. */
export interface LawWorld {
  readonly env: TestEnv;
  /** What the subject sends to: `peer.service` as its inner service, or `peer` as the transport of its calls. */
  readonly peer: MockPeer;
}

export interface LawOptions {
  /** More about the calls, such as method, protocol or body. */
  readonly call?: CallOptions | ((world: LawWorld) => CallOptions);
  /** Law 3: the subject hands the caller's own sink on. */
  readonly passesSink?: boolean;
  /** Checked when the call is over and time has passed: that counters are back at 0, that a filter's onEnd ran once. */
  readonly after?: (world: LawWorld, outcome: LawOutcome) => void;
  readonly runs?: number;
  /** Fixed, so that a failure comes again; `TRAMA_LAW_SEED` looks elsewhere. */
  readonly seed?: number;
}

export interface LawOutcome {
  readonly call: Call;
  readonly sink: TestSink;
  /** Requests that reached the peer before and after the caller got its head. */
  readonly sentBeforeHead: number;
  readonly sentAfterHead: number;
}

/** One thing that happens. Those of the peer concern its latest request. */
type Step =
  | { readonly kind: "head"; readonly status: number; readonly grpcStatus: number | undefined }
  | { readonly kind: "data" }
  | { readonly kind: "end"; readonly grpcStatus: number | undefined }
  | { readonly kind: "error"; readonly code: MeshErrorCode; readonly sent: boolean }
  | { readonly kind: "abort"; readonly reason: string }
  | { readonly kind: "pause" }
  | { readonly kind: "resume" }
  | { readonly kind: "advance"; readonly ms: number };

const grpcStatus = fc.option(fc.constantFrom(0, 1, 4, 8, 13, 14), { nil: undefined });
const peerCodes: MeshErrorCode[] = ["CONNECT_FAILED", "TLS_FAILED", "RESET", "REFUSED", "PROTOCOL_ERROR", "OVERFLOW"];
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("head" as const),
      status: fc.constantFrom(200, 204, 404, 409, 500, 503),
      grpcStatus,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("data" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("end" as const), grpcStatus }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("error" as const),
      code: fc.constantFrom(...peerCodes),
      sent: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("abort" as const), reason: fc.constantFrom("first", "second") }),
  },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: "pause" }, { kind: "resume" }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 400 }) }) },
);

const plans = fc.record({
  /** How many of the first steps happen inside the peer's `send`, before it returns, for each request. */
  inside: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }),
  steps: fc.array(steps, { maxLength: 25 }),
  abortFirst: fc.boolean(),
});

/**
 * Checks the laws of `service.ts` for whatever `build` makes, in random orders of events: answers before and after the
 * service returns, errors at every point, aborts before, during and after, time passing in between. The peer is
 * law-abiding: it sends nothing after its last event, and answers an abort with the reason it was given.
 */
export function checkServiceLaws(build: (world: LawWorld) => Service, options: LawOptions = {}): void {
  fc.assert(
    fc.property(plans, fc.integer(), (plan, seed) => runPlan(build, options, plan, seed)),
    {
      includeErrorInReport: true,
      numRuns: options.runs ?? 400,
      seed: Number(process.env["TRAMA_LAW_SEED"] ?? options.seed ?? 7),
    },
  );
}

function runPlan(
  build: (world: LawWorld) => Service,
  options: LawOptions,
  plan: { inside: number[]; steps: Step[]; abortFirst: boolean },
  seed: number,
): void {
  const left = [...plan.steps];
  const inside = [...plan.inside];
  let sentBeforeHead = 0;
  let sentAfterHead = 0;
  const reasons: unknown[] = [];
  let abortable = true;
  const answer = (exchange: Exchange): void => {
    if (sink.head === undefined) sentBeforeHead++;
    else sentAfterHead++;
    for (let n = inside.shift() ?? 0; n > 0 && left.length > 0; n--) take(exchange, left.shift()!);
  };
  // Never more requests than any policy here allows; a subject without a bound is caught below.
  const peer = new MockPeer(...Array.from({ length: 64 }, () => answer));
  const env = testEnv({ seed });
  const world: LawWorld = { env, peer };
  const service = build(world);
  const callOptions = typeof options.call === "function" ? options.call(world) : options.call;
  const call = makeCall({ transport: peer, startMs: env.clock.now(), ...callOptions });
  const sink = new TestSink();
  const abort = (reason: string): void => {
    if (!sink.over && abortable) reasons.push(reason);
    call.abort(reason);
  };
  const take = (exchange: Exchange | undefined, step: Step): void => {
    switch (step.kind) {
      case "head":
        if (exchange !== undefined && !exchange.headed)
          exchange.head(step.status, step.grpcStatus === undefined ? {} : { "grpc-status": String(step.grpcStatus) });
        return;
      case "data":
        if (exchange?.headed === true) exchange.data();
        return;
      case "end":
        if (exchange?.headed === true)
          exchange.end(step.grpcStatus === undefined ? undefined : { "grpc-status": String(step.grpcStatus) });
        return;
      case "error":
        exchange?.fail(step.code, step.sent || exchange.headed);
        return;
      case "abort":
        return abort(step.reason);
      case "pause":
        sink.flow?.pause();
        sink.flow?.pause();
        return;
      case "resume":
        sink.flow?.resume();
        sink.flow?.resume();
        return;
      case "advance":
        env.clock.advance(step.ms);
    }
  };

  if (plan.abortFirst && seed % 5 === 0) abort("before it began");
  const abortedFirst = call.aborted !== undefined;
  // Law 1: no throw, no value.
  const returned: unknown = service(call, sink);
  must(returned === undefined, "law 1: a Service returns nothing");
  if (abortedFirst) must(peer.exchanges.length === 0, "law 5: an aborted call must not be sent");
  if (options.passesSink === true && peer.exchanges[0] !== undefined)
    must(peer.exchanges[0].sink === sink, "law 3: the sink must be handed on untouched");
  while (left.length > 0) take(peer.exchanges.at(-1), left.shift()!);
  finish(env, peer, sink);
  abortable = false;

  must(sink.breaches.length === 0, `law 2: ${sink.breaches.join(", ")}`);
  must(sink.over, "law 2: an answer must end");
  if (reasons.length > 0 && sink.error !== undefined) {
    must(sink.error === call.aborted, "law 5: the caller gets back its own error");
    must(sink.error.cause === reasons[0], "law 5: the first reason stays");
  }
  for (const exchange of peer.exchanges) must(exchange.over, "law 5: whatever was under way must be ended");
  must(sentAfterHead === 0, "law 8: nothing is sent again after the caller got the head");
  must(call.active === undefined || sink.over, "a call that is over has nothing under way");
  call.abort("after the end");
  must(sink.breaches.length === 0, `law 5: an abort after the end changes nothing: ${sink.breaches.join(", ")}`);
  options.after?.(world, { call, sink, sentBeforeHead, sentAfterHead });
  must(env.clock.pending === 0, "no timer outlives its call");
}

/** The peer ends all that is open, as it would in the end, until the caller has its last event; then time passes. */
function finish(env: TestEnv, peer: MockPeer, sink: TestSink): void {
  for (let turn = 0; turn < 100; turn++) {
    for (const exchange of peer.exchanges)
      if (!exchange.over) {
        if (!exchange.headed) exchange.head(200);
        exchange.end({ "grpc-status": "0" });
      }
    env.clock.advance(1_000);
    if (sink.over && peer.exchanges.every(({ over }) => over)) return;
  }
}

function must(holds: boolean, law: string): void {
  if (!holds) throw new Error(law);
}

/**
 * The same laws for one call through something real: a transport over sockets, an adapter. Calls `service`, waits for the
 * last event, and says which laws were broken; `reason` aborts the call at the given moment.
 */
export async function observeLaws(
  service: Service,
  call: Call,
  abort?: { readonly when: "before" | "at once" | "head" | "data"; readonly reason: unknown },
): Promise<TestSink> {
  const sink: TestSink = new TestSink((event) => {
    if (abort !== undefined && event === abort.when) call.abort(abort.reason);
  });
  if (abort?.when === "before") call.abort(abort.reason);
  const returned: unknown = service(call, sink);
  must(returned === undefined, "law 1: a Service returns nothing");
  if (abort?.when === "at once") call.abort(abort.reason);
  await sink.done;
  // Whoever breaks law 2 does so soon after the end.
  await new Promise((resolve) => setImmediate(resolve));
  must(sink.breaches.length === 0, `law 2: ${sink.breaches.join(", ")}`);
  if (abort !== undefined && sink.error !== undefined) {
    must(sink.error === call.aborted, "law 5: the caller gets back its own error");
    const own = abort.reason instanceof MeshError ? sink.error === abort.reason : sink.error.cause === abort.reason;
    must(own, "law 5: the reason is the caller's own");
  }
  return sink;
}
