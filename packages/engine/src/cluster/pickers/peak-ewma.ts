import type { PeakEwmaConfig } from "../../config.ts";
import type { Clock } from "../../env.ts";
import type { MeshError } from "../../errors.ts";
import { neverMeasured } from "../endpoint-load.ts";
import type { EndpointLoad, Latency } from "../endpoint-load.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { AttemptObserver } from "../observer.ts";
import type { Picker } from "../picker.ts";

/** The longest time that a `Retry-After` can keep an endpoint unpopular. */
const MAX_ASKED_MS = 300_000;

/**
 * Two choices by latency: the lower `latency × (attempts in flight + 1) / weight` is taken. Latencies decay towards 0 while nobody
 * measures, so an endpoint that was slow is tried again, some time after it is passed over. Both of a pair decay by
 * the same factor from one moment on, so a pick needs no clock: it compares the latencies as of one common moment.
 */
export function peakEwma(config: PeakEwmaConfig, endpoints: readonly Endpoint[], dice: Dice): Picker {
  const n = endpoints.length;
  if (n === 1) return { pick: () => endpoints[0]! };
  return {
    pick() {
      const first = dice.below(n);
      let second = dice.below(n - 1);
      if (second >= first) second++;
      const a = endpoints[first]!;
      const b = endpoints[second]!;
      return dearer(a, b, config) ? b : a;
    },
  };
}

/** Whether the first costs more than the second. */
function dearer(a: Endpoint, b: Endpoint, { decayMs, defaultRttMs }: PeakEwmaConfig): boolean {
  const one = a.known.latency;
  const two = b.known.latency;
  // As of the later measurement of the two. One that was never measured does not decay.
  const atMs = Math.max(one.atMs, two.atMs);
  return (
    (decayed(one, atMs, decayMs, defaultRttMs) * (a.known.active + 1)) / a.config.weight >
    (decayed(two, atMs, decayMs, defaultRttMs) * (b.known.active + 1)) / b.config.weight
  );
}

function decayed({ ms, atMs }: Latency, nowMs: number, decayMs: number, defaultMs: number): number {
  if (atMs < 0) return defaultMs;
  return atMs === nowMs ? ms : ms * Math.exp((atMs - nowMs) / decayMs);
}

/** Takes in one measurement: a peak at once, a fall by and by. */
export function measured(latency: Latency, ms: number, nowMs: number, decayMs: number): void {
  if (latency.atMs < 0 || ms >= latency.ms) latency.ms = ms;
  else {
    const old = Math.exp((latency.atMs - nowMs) / decayMs);
    latency.ms = latency.ms * old + ms * (1 - old);
  }
  latency.atMs = nowMs;
}

/**
 * What teaches the latencies. An attempt that failed by the endpoint's doing counts as a latency of `penaltyMs`, or of what the
 * endpoint asked for (`Retry-After`, `grpc-retry-pushback-ms`); otherwise one that refuses everything quickly would look like the
 * best of all.
 */
export class LatencyObserver implements AttemptObserver {
  readonly timed = true;
  readonly #config: PeakEwmaConfig;
  readonly #clock: Clock;

  constructor(config: PeakEwmaConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  /** Latency is known at the head; the end of a stream may be hours away. */
  attemptAnswered(endpoint: Endpoint, status: number, grpcStatus: number, headMs: number): void {
    if (isFailure(status, grpcStatus)) return;
    measured(own(endpoint.load), headMs, this.#clock.now(), this.#config.decayMs);
  }

  attemptEnded(
    endpoint: Endpoint,
    status: number,
    grpcStatus: number,
    error: MeshError | undefined,
    headMs: number,
    counts: boolean,
    askedMs: number,
  ): void {
    if (!counts || (error === undefined && !isFailure(status, grpcStatus))) return;
    const { decayMs, penaltyMs } = this.#config;
    const ms = askedMs >= 0 ? Math.min(askedMs, MAX_ASKED_MS) : penaltyMs;
    measured(own(endpoint.load), Math.max(ms, headMs), this.#clock.now(), decayMs);
  }
}

function own(load: EndpointLoad): Latency {
  if (load.latency === neverMeasured) load.latency = { ...neverMeasured };
  return load.latency;
}

function isFailure(status: number, grpcStatus: number): boolean {
  return grpcStatus >= 0 ? speaksOfServer(grpcStatus) : status >= 500 || status === 429;
}

/** DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS: what speaks of the server and not of the request. */
function speaksOfServer(grpcStatus: number): boolean {
  return grpcStatus === 4 || grpcStatus === 8 || grpcStatus === 13 || grpcStatus === 14 || grpcStatus === 15;
}
