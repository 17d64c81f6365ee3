/** Envoy's `GradientControllerConfig`; in brackets its defaults. */
export interface GradientConfig {
  /** Bounds of the limit: `max_concurrency_limit` (1000), `min_concurrency` (3). */
  readonly maxConcurrency: number;
  readonly minConcurrency: number;
  /** How often the limit follows the latencies: `concurrency_update_interval` (100 ms; Envoy has no default). */
  readonly updateIntervalMs: number;
  /** Percentile of latencies that counts: `sample_aggregate_percentile` (50). */
  readonly percentile: number;
  /** How often the latency without queues is measured anew (60 s), plus up to so many percent by chance (15). */
  readonly minRttIntervalMs: number;
  readonly jitterPercent: number;
  /** Requests that such a measurement takes: `request_count` (50). */
  readonly minRttRequests: number;
  /** Percent by which latency may be above that and still be called good: `buffer` (25). */
  readonly bufferPercent: number;
}

/** A limit at its least for so many updates in a row is no longer believed to come from load: the measure is taken anew. */
const MAX_MINIMAL_UPDATES = 5;
/** More samples than this say nothing new within one update. */
const MAX_SAMPLES = 1_000;

/**
 * How many requests a process should have under way, by the gradient of its latencies, as Envoy's adaptive concurrency
 * finds it: now and then it lets only a few in and takes their latency for the one without queues; in between the limit
 * grows while latencies are near that and shrinks as they rise. Times are given, not read.
 */
export class GradientLimit {
  limit: number;
  /** What stood before a measurement, or the least at the start. */
  #resumeAt: number;
  /** Latency without queues; 0 = not known yet. */
  minRttMs = 0;
  /** While it is measured; calls that began before do not count. */
  #measuring = true;
  #epochMs: number;
  #samples: number[] = [];
  #minimalUpdates = 0;
  #updateAtMs: number;
  #measureAtMs = Infinity;
  readonly #config: GradientConfig;
  readonly #random: () => number;

  constructor(config: GradientConfig, random: () => number, nowMs: number) {
    this.#config = config;
    this.#random = random;
    this.limit = config.minConcurrency;
    this.#resumeAt = config.minConcurrency;
    this.#epochMs = nowMs;
    this.#updateAtMs = nowMs + config.updateIntervalMs;
  }

  /** At the begin of a request: what became due since the last one is done first. */
  tick(nowMs: number): void {
    if (this.#measuring) return;
    if (nowMs >= this.#measureAtMs) this.#measure(nowMs);
    else if (nowMs >= this.#updateAtMs) this.#update(nowMs);
  }

  /** A request that began at `startMs` was answered at `nowMs`. */
  sample(startMs: number, nowMs: number): void {
    if (startMs < this.#epochMs) return;
    if (this.#samples.length < MAX_SAMPLES) this.#samples.push(nowMs - startMs);
    if (this.#measuring && this.#samples.length >= this.#config.minRttRequests) this.#measured(nowMs);
  }

  #measure(nowMs: number): void {
    this.#measuring = true;
    this.#epochMs = nowMs;
    this.#samples = [];
    this.#resumeAt = this.limit;
    this.limit = this.#config.minConcurrency;
  }

  #measured(nowMs: number): void {
    const { minRttIntervalMs, jitterPercent, updateIntervalMs } = this.#config;
    this.minRttMs = this.#aggregate();
    this.#measuring = false;
    this.#minimalUpdates = 0;
    this.limit = this.#resumeAt;
    this.#measureAtMs = nowMs + minRttIntervalMs * (1 + (this.#random() * jitterPercent) / 100);
    this.#updateAtMs = nowMs + updateIntervalMs;
    this.#epochMs = nowMs;
  }

  #update(nowMs: number): void {
    const { minConcurrency, maxConcurrency, bufferPercent, updateIntervalMs } = this.#config;
    this.#updateAtMs = nowMs + updateIntervalMs;
    if (this.#samples.length === 0) return;
    const rttMs = this.#aggregate();
    const raw = rttMs === 0 ? 2 : (this.minRttMs * (1 + bufferPercent / 100)) / rttMs;
    const next = this.limit * Math.max(0.5, Math.min(2, raw));
    // Headroom, so that a limit which holds can still grow.
    this.limit = Math.max(minConcurrency, Math.min(maxConcurrency, Math.floor(next + Math.sqrt(next))));
    this.#minimalUpdates = this.limit === minConcurrency ? this.#minimalUpdates + 1 : 0;
    if (this.#minimalUpdates < MAX_MINIMAL_UPDATES) return;
    this.#measure(nowMs);
  }

  /** The percentile of the samples, which begin anew. */
  #aggregate(): number {
    const samples = this.#samples.sort((a, b) => a - b);
    this.#samples = [];
    const at = Math.min(samples.length - 1, Math.floor((samples.length * this.#config.percentile) / 100));
    return samples[at]!;
  }
}
