import type { Call } from "../call.ts";
import type { FaultConfig } from "../config.ts";
import type { Env, Timer } from "../env.ts";
import { compileHeader } from "../match/header.ts";
import { roll } from "../match/route-match.ts";
import type { Filter, FilterState, LocalReply, PendingVerdict, Verdict } from "./filter.ts";
import { grpcStatusOf, httpStatusOf } from "./grpc-status.ts";

/**
 * Fault injection: delay a share of the calls, then answer a share of them with an error (gRFC A33). Delay and abort roll
 * their own dice (R32). It stands above the deadline and the attempts, so no retry repairs an injected fault, no
 * time-out of the route covers an injected delay, and no endpoint is ejected for one.
 */
export function faultFilter(config: FaultConfig, name: string, env: Env, state: FilterState): Filter | undefined {
  const delay = config.delay !== undefined && config.delay.perMillion > 0 ? config.delay : undefined;
  const abort = config.abort !== undefined && config.abort.perMillion > 0 ? config.abort : undefined;
  if (delay === undefined && abort === undefined) return undefined;
  const fixed = abort === undefined || abort.byRequest !== undefined ? undefined : abortReply(abort);
  const headers = config.headers.map((header) => compileHeader(header, env));
  const max = config.maxActive ?? Infinity;
  // The count outlives a snapshot, else each push would forget the calls that are being held (law 6).
  const active = state.counter(`fault/${name}`);

  const abortOrGo = (call: Call): Verdict => {
    if (abort === undefined) return "continue";
    const reply = fixed ?? askedAbort(call);
    return reply !== undefined && roll(shareOf(abort, call, "abort"), env.random) ? reply : "continue";
  };

  return {
    name,
    onFailure: "ignore",
    onRequest(call) {
      for (const test of headers) if (!test(call)) return "continue";
      // Above the limit a call is neither delayed nor aborted.
      if (active.value >= max) return "continue";
      const ms = delay?.byRequest === undefined ? delay?.ms : askedDelay(call);
      if (delay === undefined || ms === undefined || !roll(shareOf(delay, call, "delay"), env.random))
        return abortOrGo(call);
      call.record.flag = "DI";
      return new Delay(env, ms, active, () => abortOrGo(call));
    },
  };
}

/** The configured share, or the smaller one that the request asks for. */
function shareOf({ perMillion, byRequest }: Share, { headers }: Call, what: "delay" | "abort"): number {
  if (byRequest === undefined) return perMillion;
  const asked = wholeNumber(headers.get(`x-envoy-fault-${what}-request-percentage`));
  return asked === undefined ? perMillion : Math.min(perMillion, asked * byRequest.unitPerMillion);
}

type Share = NonNullable<FaultConfig["delay"] | FaultConfig["abort"]>;

function askedDelay({ headers }: Call): number | undefined {
  const ms = wholeNumber(headers.get("x-envoy-fault-delay-request"));
  // Longer than any timer can wait is not a delay but a call that never ends.
  return ms === undefined || ms > 0x7fff_ffff ? undefined : ms;
}

function askedAbort({ headers }: Call): LocalReply | undefined {
  const http = wholeNumber(headers.get("x-envoy-fault-abort-request"));
  if (http !== undefined && http >= 200 && http < 600) return abortReply({ httpStatus: http, grpcStatus: undefined });
  const grpcStatus = wholeNumber(headers.get("x-envoy-fault-abort-grpc-request"));
  return grpcStatus === undefined ? undefined : abortReply({ httpStatus: undefined, grpcStatus });
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

/** A call that is being held. */
class Delay implements PendingVerdict {
  readonly verdict: Promise<Verdict>;
  readonly #active: { value: number };
  readonly #timer: Timer;
  #over = false;

  constructor(env: Env, ms: number, active: { value: number }, then: () => Verdict) {
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    this.verdict = promise;
    this.#active = active;
    active.value++;
    this.#timer = env.clock.after(ms, () => {
      this.#end();
      resolve(then());
    });
  }

  abort(): void {
    this.#timer.cancel();
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#active.value--;
  }
}

/** Each protocol gets the fault in its own terms, whichever terms it was written in. */
function abortReply(abort: Pick<NonNullable<FaultConfig["abort"]>, "httpStatus" | "grpcStatus">): LocalReply {
  const status = abort.httpStatus ?? httpStatusOf(abort.grpcStatus ?? 14);
  const grpcStatus = abort.grpcStatus ?? grpcStatusOf(status);
  return { status, grpcStatus, body: "fault filter abort", flag: "FI" };
}
