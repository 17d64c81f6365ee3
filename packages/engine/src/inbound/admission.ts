import type { Call } from "../call.ts";
import type { Clock } from "../env.ts";
import { answerLocally } from "../policy/local-reply.ts";
import type { LocalReply } from "../policy/filter.ts";
import type { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";
import { exemption } from "./exempt.ts";
import { GradientLimit } from "./gradient.ts";
import type { GradientConfig } from "./gradient.ts";

/** When this process refuses requests for its own sake. What is left out is off. */
export interface AdmissionConfig {
  /** From this delay of the event loop on a growing share is refused, at twice of it everything. Milliseconds, > 0. */
  readonly loopDelayMs: number | undefined;
  /** The same for the share of its time that the loop is busy, 0 … 1: everything at 1. */
  readonly utilization: number | undefined;
  readonly concurrency: GradientConfig | undefined;
  /** Paths that are never refused; see {@link exemption}. */
  readonly exempt: readonly string[];
}

/** Envoy's answer to what its overload manager refuses; gRPC is told UNAVAILABLE. */
const OVERLOADED: LocalReply = {
  status: 503,
  flag: "OM",
  headers: ["x-envoy-overloaded", "true"],
  body: "overloaded",
};

/**
 * Stands between telemetry and all policy of a server: what cannot be served in time is refused before anything is
 * spent on it, its body unread. Refusing by load is by chance, so that a share is still served at any load below the
 * upper bound. One for all servers of a process, because they share its loop.
 */
export class Admission {
  readonly #config: AdmissionConfig;
  readonly #random: () => number;
  readonly #clock: Pick<Clock, "now">;
  readonly #isExempt: (call: Call) => boolean;
  readonly #gradient: GradientLimit | undefined;
  /** 0 … 1. */
  #refused = 0;
  /** Under way, when there is a limit. */
  #active = 0;

  constructor(config: AdmissionConfig, env: { readonly clock: Pick<Clock, "now">; readonly random: () => number }) {
    this.#config = config;
    this.#random = env.random;
    this.#clock = env.clock;
    this.#isExempt = exemption(config.exempt);
    this.#gradient =
      config.concurrency === undefined ? undefined : new GradientLimit(config.concurrency, env.random, env.clock.now());
  }

  /** Requests that may be under way now; `undefined`: any number. */
  get limit(): number | undefined {
    return this.#gradient?.limit;
  }

  /** Told now and then how the event loop does: its delay, and how busy it was, 0 … 1. */
  onLoad(delayMs: number, utilization: number): void {
    const { loopDelayMs, utilization: busy } = this.#config;
    const byDelay = loopDelayMs === undefined ? 0 : delayMs / loopDelayMs - 1;
    const byUse = busy === undefined ? 0 : (utilization - busy) / (1 - busy);
    this.#refused = Math.max(0, Math.min(1, Math.max(byDelay, byUse)));
  }

  readonly layer: Layer = (inner) => (call, sink) => {
    if (call.aborted !== undefined) return sink.onError(call.aborted);
    if (this.#isExempt(call)) return inner(call, sink);
    if (this.#refused > 0 && this.#random() < this.#refused) return answerLocally(call, sink, OVERLOADED);
    const gradient = this.#gradient;
    if (gradient === undefined) return inner(call, sink);
    const nowMs = this.#clock.now();
    gradient.tick(nowMs);
    if (this.#active >= gradient.limit) return answerLocally(call, sink, OVERLOADED);
    this.#active++;
    inner(call, new Admitted(sink, nowMs, this));
  };

  /** The head of an answer is there; by its time the limit is set. */
  answered(startMs: number): void {
    this.#gradient!.sample(startMs, this.#clock.now());
  }

  ended(): void {
    this.#active--;
  }
}

/** Counts a call from its begin to its last event, and measures it to its head: a slow reader is not our load. */
class Admitted implements Sink {
  readonly #sink: Sink;
  readonly #startMs: number;
  readonly #admission: Admission;

  constructor(sink: Sink, startMs: number, admission: Admission) {
    this.#sink = sink;
    this.#startMs = startMs;
    this.#admission = admission;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    this.#admission.answered(this.#startMs);
    this.#sink.onHead(head, flow);
  }

  onData(chunk: Uint8Array): void {
    this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.#admission.ended();
    this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    this.#admission.ended();
    this.#sink.onError(error);
  }
}
